"""How many epochs until more does not help?

Question   What do 10, 20, 40 and 80 epochs bring to a pretrained ResNet50 and to a plain U-Net?
           Each length has a whole learning-rate schedule: none is a longer training cut short.
Budget     2 models x 4 lengths x 5 seeds = 40 trials, 1500 epochs in all, none stopped early.
Run        python sweeps/epochs.py --data FOLDER      (no folder: made-up patients)
Answer     runs/epochs/report.html, section "Comparison", and results.csv
"""

from brainseg import Points, Space, Sweep, TrialConfig, grid, run

sweep = Sweep(
    name="epochs",
    question="How many epochs until more does not help?",
    space=Space(TrialConfig(), search=()),
    first=grid({"model": ("encoder", "plain"), "epochs": (10, 20, 40, 80)}),
    strategy=Points(seeds=(0, 1, 2, 3, 4)),
)

if __name__ == "__main__":
    run(sweep)
