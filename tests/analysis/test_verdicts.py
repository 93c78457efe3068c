"""Laws of the verdicts, on small made-up runs: supported, refuted, inconclusive; their words."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from brainseg.config.claims import Best, Claim, Faster, Rougher, Worst, to_record
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.records.run import Run
from brainseg.report import claims as report_claims
from brainseg.report import page, results, sentences
from brainseg.report.results import Results
from tests.support.reports import Tags, written
from tests.support.small_run import begin
from tests.support.written import append_line

PLAIN: Params = {"model": "plain"}
VGG: Params = {"model.encoder.name": "vgg16"}
RESNET: Params = {"model.encoder.name": "resnet50"}


def claimed(folder: Path, *claims: Claim, **changes: Any) -> Run:
    records = [to_record(claim) for claim in claims]
    points = {"kind": "points", "seeds": [0, 1, 2]}
    return begin(folder / "run", claims=records, strategy=points, **changes)


def trained(
    run: Run,
    point: Params,
    curve: Sequence[float],
    *,
    seed: int = 0,
    patients: Sequence[float] = (),
    state: Any = "done",
) -> None:
    """A trial with this curve, whose patients score as given or, all of them, as its best."""
    name = f"{len(run.trials()):04d}"
    config = build(TrialConfig(), {**point, "seed": seed})
    run.note(name, "running", configuration=configuration_name(config), params=flatten(config))
    best = int(np.argmax(curve))
    for epoch, dice in enumerate(curve, start=1):
        row = {"epoch": epoch, "dice": dice, "iou": dice / 2, "lr": 1e-3, "seconds": 1.0}
        row |= {"devices": 1, "train_loss": 1 - dice, "val_loss": 1 - dice}
        append_line(
            run.trial(name).metrics, row | {"best_dice": curve[best], "best_epoch": best + 1}
        )
    dice = list(patients) or [curve[best]] * 8
    table = pd.DataFrame({"patient": [f"p{n}" for n in range(len(dice))], "dice": dice})
    table.assign(slices=20, tumour_slices=5).to_csv(run.trial(name).patients, index=False)
    run.note(name, state, dice=float(np.mean(dice)), epoch=len(curve), best_epoch=best + 1)


def words(run: Run) -> list[str]:
    return [verdict.word for verdict in Results.load(run).verdicts]


def around(mean: float, spread: float, patients: int = 8) -> list[float]:
    """Patients' Dice that lie evenly about their mean."""
    return (mean + np.linspace(-spread, spread, patients)).tolist()


def test_a_difference_that_every_patient_shows_settles_the_claim(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("r", RESNET), Best("v", VGG), Worst("v", VGG), Worst("r", RESNET))
    trained(run, RESNET, [0.8], patients=around(0.8, 0.1))
    trained(run, VGG, [0.6], patients=around(0.6, 0.12))
    assert words(run) == ["supported", "refuted", "supported", "refuted"]


def test_patients_of_all_folds_are_compared_together(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("r", RESNET))
    for fold in (0, 1):
        names = [f"{fold}-{n}" for n in range(4)]
        for point, dice in ((RESNET, 0.8), (VGG, 0.6)):
            trained(run, {**point, "fold": fold}, [dice], patients=around(dice, 0.1, 4))
            path = run.trial(f"{len(run.trials()) - 1:04d}").patients
            pd.read_csv(path).assign(patient=names).to_csv(path, index=False)
    verdict = Results.load(run).verdicts[0]
    assert (verdict.word, verdict.contrasts[0].patients) == ("supported", 8)


def test_a_difference_smaller_than_the_patients_spread_is_inconclusive(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET), Worst("worst", RESNET))
    trained(run, RESNET, [0.81], patients=around(0.81, 0.1))
    trained(run, VGG, [0.80], patients=around(0.80, 0.1)[::-1])
    assert words(run) == ["inconclusive"] * 2


def test_patients_are_paired_by_name(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    trained(run, RESNET, [0.52], patients=around(0.52, 0.4))
    trained(run, VGG, [0.50], patients=around(0.50, 0.401))
    assert words(run) == ["supported"], "each patient gains, however far apart they lie"


def test_the_best_must_beat_every_other_configuration(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    trained(run, RESNET, [0.8], patients=around(0.8, 0.05))
    trained(run, VGG, [0.6], patients=around(0.6, 0.05))
    assert words(run) == ["supported"]
    trained(run, PLAIN, [0.8], patients=around(0.8, 0.05)[::-1])
    assert words(run) == ["inconclusive"]
    [verdict] = Results.load(run).verdicts
    assert "plain U-Net" in verdict.why and "The decisive one of 2 comparisons" in verdict.why


def test_too_few_patients_are_inconclusive_however_far_apart(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    trained(run, RESNET, [0.9], patients=around(0.9, 0.01, 5))
    trained(run, VGG, [0.1], patients=around(0.1, 0.01, 5))
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert "no interval: it takes 6 patients or more, there are 5" in verdict.why


def test_seeds_that_disagree_make_it_uncertain(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    for seed, gain in enumerate((0.3, 0.0, -0.1)):
        trained(run, RESNET, [0.6 + gain], seed=seed, patients=around(0.6 + gain, 0.05))
        trained(run, VGG, [0.5], seed=seed, patients=around(0.5, 0.05))
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert "0.667 (0.500 to 0.900 over 3 seeds) for resnet50" in verdict.why


def test_a_verdict_from_one_seed_says_so(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    trained(run, RESNET, [0.8])
    trained(run, VGG, [0.6])
    assert (
        "one seed only: variation between seeds is not included"
        in Results.load(run).verdicts[0].why
    )


def curves(run: Run, point: Params, shape: Sequence[float], seeds: int = 3) -> None:
    for seed in range(seeds):
        trained(run, point, [0.0] * seed + list(shape), seed=seed)


def test_the_configuration_that_converges_sooner_with_every_seed_is_faster(tmp_path: Path) -> None:
    run = claimed(tmp_path, Faster("faster", RESNET, PLAIN), Faster("slower", PLAIN, RESNET))
    curves(run, RESNET, [0.7, 0.8, 0.8, 0.8, 0.8])
    curves(run, PLAIN, [0.1, 0.2, 0.3, 0.6, 0.7])
    assert words(run) == ["supported", "refuted"]
    why = Results.load(run).verdicts[0].why
    assert why.startswith("epochs to 90 % of the lower best Dice 2.0 (1.0 to 3.0 over 3 seeds)")


def test_curves_of_one_seed_are_inconclusive(tmp_path: Path) -> None:
    run = claimed(tmp_path, Faster("faster", RESNET, PLAIN), Rougher("rougher", RESNET))
    curves(run, RESNET, [0.7, 0.6, 0.8, 0.3, 0.8], seeds=1)
    curves(run, PLAIN, [0.1, 0.2, 0.3, 0.6, 0.7], seeds=1)
    assert words(run) == ["inconclusive"] * 2
    assert "no interval: it takes 3 seeds or more, there are 1" in Results.load(run).verdicts[0].why


def test_the_rougher_curve_is_found_whatever_the_first_half_did(tmp_path: Path) -> None:
    run = claimed(tmp_path, Rougher("rougher", VGG), Rougher("smoother", PLAIN))
    curves(run, VGG, [0.5, 0.5, 0.5, 0.5, 0.9, 0.4, 0.9, 0.4])
    curves(run, PLAIN, [0.9, 0.1, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert words(run) == ["supported", "refuted"]


def test_a_claim_about_several_models_must_hold_for_each(tmp_path: Path) -> None:
    run = claimed(tmp_path, Faster("pretrained", {"model": "encoder"}, PLAIN))
    curves(run, PLAIN, [0.1, 0.2, 0.3, 0.6, 0.7])
    curves(run, RESNET, [0.7, 0.7, 0.7, 0.7, 0.7])
    assert words(run) == ["supported"]
    curves(run, VGG, [0.0, 0.1, 0.2, 0.2, 0.3, 0.4, 0.7])
    assert words(run) == ["refuted"]


@pytest.mark.parametrize("state", ["failed", "stopped", "running"])
def test_only_trials_that_ran_to_their_end_are_compared(tmp_path: Path, state: str) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    trained(run, RESNET, [0.8], state=state)
    trained(run, VGG, [0.6])
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert verdict.why == "No trial with model.encoder.name=resnet50 ran to its last epoch."


def test_a_configuration_without_rivals_is_not_called_best(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    trained(run, RESNET, [0.8])
    assert words(run) == ["inconclusive"]


def test_where_every_network_scores_0_claims_are_inconclusive(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("b", VGG), Worst("w", VGG), Faster("f", VGG, PLAIN))
    for seed in range(3):
        trained(run, VGG, [0.0, 0.0, 0.0], seed=seed)
        trained(run, PLAIN, [0.0, 0.0, 0.0], seed=seed)
    assert words(run) == ["inconclusive"] * 3


def claims_csv(run: Run) -> Path | None:
    return report_claims.write_claims(Results.load(run))


def shown(run: Run) -> str:
    console = Console(file=StringIO(), width=100)
    report_claims.print_verdicts(Results.load(run), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def claimed_run(tmp_path: Path, **changes: Any) -> Run:
    run = claimed(tmp_path, Best("R is best", RESNET), Faster("F", RESNET, PLAIN), **changes)
    curves(run, RESNET, [0.7, 0.8, 0.8, 0.8, 0.8])
    curves(run, PLAIN, [0.1, 0.2, 0.3, 0.6, 0.7])
    return run


def test_the_file_has_a_row_a_comparison_with_all_its_numbers(tmp_path: Path) -> None:
    run = claimed_run(tmp_path)
    path = claims_csv(run)
    assert path == run.path / "claims.csv"
    rows = pd.read_csv(path)
    assert rows["claim"].tolist() == ["R is best", "F"]
    assert rows["verdict"].tolist() == ["supported", "supported"]
    assert rows["difference"].tolist() == pytest.approx([0.1, -4.0])
    assert rows["seeds"].tolist() == [3, 3] and rows["patients"].tolist() == [8, 0]
    assert not rows["leaks"].any()


def test_the_page_shows_each_claim_with_a_picture(tmp_path: Path) -> None:
    run = claimed_run(tmp_path)
    tags = Tags(written(run))
    assert report_claims.TITLE in tags.text
    assert "R is best: supported" in tags.text and "F: supported" in tags.text
    assert "Difference in mean best Dice" in written(run)


def test_where_slices_of_one_patient_are_split_every_table_says_that_it_leaks(
    tmp_path: Path,
) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    run = claimed_run(tmp_path, split=split | {"shared_patients": 3})
    assert sentences.LEAK in " ".join(shown(run).split())
    text = Tags(written(run)).text
    assert (
        text.count(sentences.LEAK) == 4
    )  # the head, the claims, the ranking, the table over seeds
    path = claims_csv(run)
    assert path and pd.read_csv(path)["leaks"].all()
    assert pd.read_csv(results.write_results(Results.load(run)))["leaks"].all()


def test_a_sweep_without_claims_has_no_section_and_no_file(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    trained(run, RESNET, [0.8])
    assert claims_csv(run) is None and not list(run.path.glob("claims*"))
    assert shown(run) == ""
    assert report_claims.TITLE not in page.write_report(Results.load(run)).read_text(
        encoding="utf-8"
    )
