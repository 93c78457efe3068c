"""Which encoder, frozen how far, segments this brain MRI best?

Question   Of a plain U-Net and ten encoders from VGG16 to MiT-B2: which one, all of it trained or
           its first blocks frozen, at which learning rate and schedule?
Budget     20 trials of at most 30 epochs, early stopping included; the report's four models first.
Run        python sweeps/encoders.py --data FOLDER      (no folder: made-up patients)
Answer     runs/encoders/report.html and results.csv
"""

from brainseg import REPORT_MODELS, Bayes, Space, Sweep, TrialConfig, run

sweep = Sweep(
    name="encoders",
    question="Which encoder, frozen how far, segments this brain MRI best?",
    space=Space(
        TrialConfig(),
        search=("model", "model.encoder.name", "model.encoder.freeze*", "optimizer.adamw.lr"),
    ),
    first=REPORT_MODELS,
    strategy=Bayes(trials=20, grace_epochs=4),
)

if __name__ == "__main__":
    run(sweep)
