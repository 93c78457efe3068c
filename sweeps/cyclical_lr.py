"""Do cyclical learning rates beat a cosine at equal budget?

Question   Seven schedules, from constant to triangular (Smith, 2017): which is best, at which
           learning rate? Are the bounds of a range test (lr=auto) as good as searched ones?
Budget     32 trials of at most 40 epochs. First every schedule once, at the same learning rate. No
           trial is paused before 8 epochs, and cyclical ones only at the end of a cycle.
Run        python sweeps/cyclical_lr.py --data FOLDER      (no folder: made-up patients)
Answer     runs/cyclical_lr/report.html and results.csv
"""

from brainseg import Bayes, Space, Sweep, TrialConfig, grid, run

SCHEDULES = ("cosine", "triangular", "triangular2", "exprange", "onecycle", "step", "constant")

sweep = Sweep(
    name="cyclical_lr",
    question="Do cyclical learning rates beat a cosine at equal budget?",
    space=Space(TrialConfig(epochs=40), search=("schedule*", "optimizer.adamw.lr")),
    first=(
        *grid({"schedule": SCHEDULES}),
        {"schedule": "triangular", "lr": "auto"},
    ),
    strategy=Bayes(trials=32, grace_epochs=8),
)

if __name__ == "__main__":
    run(sweep)
