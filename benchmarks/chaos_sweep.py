"""The sweep that chaos.py disturbs: small, deterministic, and with a trial that must fail."""

from brainseg import Points, Space, Split, Sweep, TrialConfig, run
from brainseg.config import Plain

sweep = Sweep(
    name="chaos",
    question="Does a disturbed sweep end as an undisturbed one?",
    space=Space(TrialConfig(model=Plain(width=4, depth=2), image_size=32, batch_size=4), search=()),
    first=(
        {"optimizer.adamw.lr": 1e-3},
        {"optimizer.adamw.lr": 3e-3},
        {"optimizer": "sgd", "optimizer.sgd.lr": 1e38},  # the loss overflows
    ),
    strategy=Points(seeds=(0, 1)),
    split=Split(validation=0.3, test=0.0),
)

if __name__ == "__main__":
    run(sweep)
