"""How much of a pretrained encoder should stay frozen?

Question   ResNet50 from ImageNet: is it best to train all of it, to freeze its first one to four
           blocks or the whole encoder, to thaw it block by block, or to train early blocks slowly?
Budget     9 ways x 5 seeds = 45 trials of 30 epochs, none stopped early. --seeds 0 runs 9 of them.
Run        python sweeps/freezing.py --data FOLDER      (no folder: made-up patients)
Answer     runs/freezing/report.html, section "Comparison", and results.csv
"""

from brainseg import Points, Space, Sweep, TrialConfig, grid, run

sweep = Sweep(
    name="freezing",
    question="How much of a pretrained encoder should stay frozen?",
    space=Space(TrialConfig(), search=()),
    first=(
        {"model.encoder.freeze": "nothing"},
        *grid(
            {"model.encoder.freeze": ("first",), "model.encoder.freeze.first.blocks": (1, 2, 3, 4)}
        ),
        {"model.encoder.freeze": "whole"},
        {"model.encoder.freeze": "gradual"},
        *grid({"model.encoder.layer_decay": (0.9, 0.7)}),
    ),
    strategy=Points(seeds=(0, 1, 2, 3, 4)),
)

if __name__ == "__main__":
    run(sweep)
