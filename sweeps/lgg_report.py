"""Which conclusions of the report on LGG MRI hold, and by how much?

Question   The report trained a plain U-Net and three pretrained ones once. It concluded: ResNet50
           fully trained is best; ResNet50 with two blocks frozen is worst; pretrained models
           converge faster; VGG16 oscillates more. Are these differences more than chance?
Budget     Its 4 models x 5 seeds = 20 trials of 30 epochs, none stopped early; fewer seeds judge no
           claim. Split by slices as in the report (2828 / 708 / 393), which leaks and has no folds.
           No leak, every patient, 40 trials: --split patients --test 0 --folds 5 --seeds 1,2
Run        python sweeps/lgg_report.py --data kaggle_3m      (no folder: made-up patients)
Answer     runs/lgg_report/report.html, first section, with learning curves and masks of each model;
           claims.csv and results.csv
"""

from brainseg import REPORT_MODELS, Points, Space, Split, Sweep, TrialConfig, run
from brainseg.config import Augmentation, Best, Dice, Faster, Rougher, Worst

PLAIN, VGG16, RESNET50, RESNET50_FROZEN = REPORT_MODELS
PRETRAINED = {"model": "encoder", "model.encoder.weights": "imagenet"}

sweep = Sweep(
    name="lgg_report",
    question="Which conclusions of the report on LGG MRI hold, and by how much?",
    space=Space(
        TrialConfig(
            loss=Dice(),
            augment=Augmentation(
                rotate_degrees=15.0, shift=0.05, zoom=0.1, hflip=0.5, vflip=0.0, missing=0.0
            ),
        ),
        search=(),
    ),
    first=REPORT_MODELS,
    strategy=Points(seeds=(0, 1, 2, 3, 4)),
    split=Split(by="slices", validation=0.2, test=0.1),
    claims=(
        Best("ResNet50 retrained is best", RESNET50),
        Worst("Freezing the first two blocks is worst", RESNET50_FROZEN),
        Faster("Pretrained converges faster than plain U-Net", PRETRAINED, than=PLAIN),
        Rougher("VGG16 oscillates more", VGG16),
    ),
)

if __name__ == "__main__":
    run(sweep)
