"""Do medical weights help more than ImageNet's, and ImageNet's more than none?

Question   ResNet50 from random weights, from ImageNet or from RadImageNet (1.35 million CT, MRI
           and ultrasound images): which segments best, and which learns fastest?
Budget     3 starts x 5 seeds = 15 trials of 30 epochs, none stopped early.
Run        brainseg weights fetch radimagenet-resnet50    (once; it shows the licence)
           python sweeps/weights.py --data FOLDER      (no folder: made-up patients)
Answer     runs/weights/report.html, sections "Comparison" and "Learning curves", and results.csv
"""

from brainseg import Points, Space, Sweep, TrialConfig, grid, run

sweep = Sweep(
    name="weights",
    question="Do medical weights help more than ImageNet's, and ImageNet's more than none?",
    space=Space(TrialConfig(), search=()),
    first=grid({"model.encoder.weights": ("none", "imagenet", "medical:radimagenet-resnet50")}),
    strategy=Points(seeds=(0, 1, 2, 3, 4)),
)

if __name__ == "__main__":
    run(sweep)
