"""Which encoder, frozen how far, segments this brain MRI best?

Question   A plain U-Net and ten encoders from VGG16 to MiT-B2: which is best, with how many of its
           first blocks frozen, at which learning rate?
Budget     20 trials of at most 30 epochs, the report's four models first. Weak trials stop early.
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
