"""Laws of the verdicts, on small made-up runs: supported, refuted, inconclusive; their words."""

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from brainseg.analysis.claims.verdicts import verdicts
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.claims import Best, Claim, Faster, Rougher, Worst, to_record
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.records.run import Run
from brainseg.report import claims as report_claims
from brainseg.report import page, results, sentences
from brainseg.report.results import Results
from tests.support.noisy_curves import noisy_and_calm
from tests.support.reports import Tags, written
from tests.support.small_run import begin
from tests.support.written import append_line

PLAIN: Params = {"model": "plain"}
VGG: Params = {"model.encoder.name": "vgg16"}
RESNET: Params = {"model.encoder.name": "resnet50"}
SEEDS = range(5)


def claimed(folder: Path, *claims: Claim, folds: int = 0, **changes: Any) -> Run:
    records = [to_record(claim) for claim in claims]
    points = {"kind": "points", "seeds": [*SEEDS], "folds": folds}
    return begin(folder / "run", claims=records, strategy=points, **changes)


def trained(
    run: Run,
    point: Params,
    curve: Sequence[float],
    *,
    patients: Sequence[float] = (),
    names: Sequence[str] = (),
    state: Any = "done",
) -> None:
    """A trial with this curve, whose patients score as given or, all of them, as its last epoch.

    The scores of its best epoch, which was chosen on them, are all 0.99.
    """
    name = f"{len(run.trials()):04d}"
    config = build(TrialConfig(), point)
    run.note(name, "running", configuration=configuration_name(config), params=flatten(config))
    best = int(np.argmax(curve))
    for epoch, dice in enumerate(curve, start=1):
        row = {"epoch": epoch, "dice": dice, "iou": dice / 2, "lr": 1e-3, "seconds": 1.0}
        row |= {"devices": 1, "train_loss": 1 - dice, "val_loss": 1 - dice}
        append_line(
            run.trial(name).metrics, row | {"best_dice": curve[best], "best_epoch": best + 1}
        )
    dice = list(patients) or [curve[-1]] * 8
    names = names or [f"p{n}" for n in range(len(dice))]
    table = pd.DataFrame({"patient": names, "dice": dice}).assign(slices=20, tumour_slices=5)
    table.to_csv(run.trial(name).last, index=False)
    table.assign(dice=0.99).to_csv(run.trial(name).patients, index=False)
    run.note(name, state, dice=0.99, epoch=len(curve), best_epoch=best + 1)


def scored(
    run: Run, point: Params, patients: Sequence[float], seeds: Sequence[int] = SEEDS
) -> None:
    """Trials of these seeds, whose patients score alike with each of them."""
    for seed in seeds:
        mean = float(np.mean(patients))
        trained(run, {**point, "seed": seed}, [mean], patients=patients)


def words(run: Run) -> list[str]:
    return [verdict.word for verdict in Results.load(run).verdicts]


def around(mean: float, spread: float, patients: int = 8) -> list[float]:
    """Patients' Dice that lie evenly about their mean."""
    return (mean + np.linspace(-spread, spread, patients)).tolist()


def test_a_difference_that_every_patient_shows_settles_the_claim(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("r", RESNET), Best("v", VGG), Worst("v", VGG), Worst("r", RESNET))
    scored(run, RESNET, around(0.8, 0.1))
    scored(run, VGG, around(0.6, 0.12))
    assert words(run) == ["supported", "refuted", "supported", "refuted"]


def test_the_last_epoch_is_judged_and_not_the_best(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("r", RESNET))
    for seed in SEEDS:
        trained(run, {**RESNET, "seed": seed}, [0.95, 0.6], patients=around(0.6, 0.05))
        trained(run, {**VGG, "seed": seed}, [0.7, 0.7], patients=around(0.7, 0.06))
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "refuted"
    assert verdict.why.startswith("mean Dice at the last epoch 0.600 (0.600 to 0.600 over 5 seeds)")


def test_patients_of_all_folds_are_compared_together(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("r", RESNET), folds=2)
    for seed in range(3):
        for fold in (0, 1):
            names = [f"{fold}-{n}" for n in range(4)]
            for point, dice in ((RESNET, 0.8), (VGG, 0.6)):
                config: Params = {**point, "seed": seed, "fold": fold}
                trained(run, config, [dice], patients=around(dice, 0.1, 4), names=names)
    [verdict] = Results.load(run).verdicts
    assert (verdict.word, verdict.contrasts[0].patients) == ("supported", 8)


def test_a_difference_smaller_than_the_patients_spread_is_inconclusive(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET), Worst("worst", RESNET))
    scored(run, RESNET, around(0.81, 0.1))
    scored(run, VGG, around(0.80, 0.1)[::-1])
    assert words(run) == ["inconclusive"] * 2


def test_patients_are_paired_by_name(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    scored(run, RESNET, around(0.52, 0.4))
    scored(run, VGG, around(0.50, 0.401))
    assert words(run) == ["supported"], "each patient gains, however far apart they lie"


def test_the_best_must_beat_every_other_configuration(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    scored(run, RESNET, around(0.8, 0.05))
    scored(run, VGG, around(0.6, 0.05))
    assert words(run) == ["supported"]
    scored(run, PLAIN, around(0.8, 0.05)[::-1])
    assert words(run) == ["inconclusive"]
    [verdict] = Results.load(run).verdicts
    assert "plain U-Net" in verdict.why and "The decisive one of 2 comparisons" in verdict.why


def test_the_bound_that_may_refute_is_corrected_for_the_number_of_comparisons(
    tmp_path: Path,
) -> None:
    claims = (Best("best", RESNET), Worst("worst", RESNET))
    run = claimed(tmp_path, *claims)
    rng = np.random.default_rng(0)
    for point in (RESNET, VGG, PLAIN, {"model.encoder.name": "resnet18"}):
        scored(run, point, (0.7 + 0.1 * rng.standard_normal(12)).tolist())
    for verdict, sign in zip(Results.load(run).verdicts, (1, -1), strict=True):
        assert len(verdict.contrasts) == 3
        for contrast in verdict.contrasts:
            below = contrast.difference - contrast.low
            above = contrast.high - contrast.difference
            assert sign * (above - below) > 0, "the bound on the claim's side lies further away"


def test_too_few_patients_are_inconclusive_however_far_apart(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    scored(run, RESNET, around(0.9, 0.01, 5))
    scored(run, VGG, around(0.1, 0.01, 5))
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert "no interval: it takes 6 patients or more, there are 5" in verdict.why


def test_seeds_that_disagree_make_it_uncertain(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET))
    for seed, gain in enumerate((0.3, 0.0, -0.1, 0.3, 0.0)):
        scored(run, RESNET, around(0.6 + gain, 0.05), [seed])
        scored(run, VGG, around(0.6, 0.05), [seed])
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert "0.700 (0.500 to 0.900 over 5 seeds) for resnet50" in verdict.why


def test_too_few_trainings_are_inconclusive_and_the_words_say_what_to_add(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", RESNET), Faster("faster", RESNET, VGG))
    scored(run, RESNET, around(0.8, 0.05), range(3))
    scored(run, VGG, around(0.6, 0.05), range(3))
    for verdict in Results.load(run).verdicts:
        assert verdict.word == "inconclusive"
        assert "no interval: a comparison takes folds x (seeds - 1) of 4 or more" in verdict.why
        assert "take 5 seeds" in verdict.why


def test_no_claim_is_supported_before_every_configuration_is_complete(tmp_path: Path) -> None:
    points = [RESNET, VGG, PLAIN]
    run = claimed(tmp_path, Best("best", RESNET), Best("best", VGG), first=points)
    scored(run, RESNET, around(0.8, 0.05))
    scored(run, VGG, around(0.6, 0.05))
    supported, refuted = Results.load(run).verdicts
    assert (supported.word, refuted.word) == ("inconclusive", "refuted")
    assert "Not supported before all configurations are complete: 2 of 3." in supported.why
    trained(run, {**PLAIN, "seed": 0}, [0.5], state="failed")
    assert "incomplete for seeds 0, 1, 2, 3, 4 (trial 0010 failed)" in (
        Results.load(run).verdicts[0].why
    )


@pytest.mark.parametrize(("folds", "seeds"), [(5, 2), (0, 5)])
def test_a_rate_that_stays_high_gains_nothing_by_its_noise(
    tmp_path: Path, folds: int, seeds: int
) -> None:
    claims = [Best("noisy", {"schedule": "constant"}), Worst("calm", {"schedule": "cosine"})]
    run = begin(
        tmp_path / "run",
        claims=[to_record(claim) for claim in claims],
        strategy={"kind": "points", "seeds": [*range(seeds)], "folds": folds},
    )
    empty = RunSnapshot.load(run)
    rng, studies, in_favour = np.random.default_rng(0), 100, np.zeros(2)
    for _ in range(studies):
        study = replace(empty, trials=noisy_and_calm(rng, run, folds=folds, seeds=seeds))
        in_favour += [verdict.word == "supported" for verdict in verdicts(study)]
    assert max(in_favour / studies) <= 0.05, "at the best epoch it is 0.97"


def curves(run: Run, point: Params, shape: Sequence[float], seeds: int = 5) -> None:
    for seed in range(seeds):
        trained(run, {**point, "seed": seed}, [0.0] * seed + list(shape))


def test_the_configuration_that_converges_sooner_with_every_seed_is_faster(tmp_path: Path) -> None:
    run = claimed(tmp_path, Faster("faster", RESNET, PLAIN), Faster("slower", PLAIN, RESNET))
    curves(run, RESNET, [0.7, 0.8, 0.8, 0.8, 0.8])
    curves(run, PLAIN, [0.1, 0.2, 0.3, 0.6, 0.7])
    assert words(run) == ["supported", "refuted"]
    why = Results.load(run).verdicts[0].why
    assert why.startswith("epochs to 90 % of the lower Dice of the second half 2.8 (1.0 to 5.0")


def test_curves_of_one_seed_are_inconclusive(tmp_path: Path) -> None:
    run = claimed(tmp_path, Faster("faster", RESNET, PLAIN), Rougher("rougher", RESNET))
    curves(run, RESNET, [0.7, 0.6, 0.8, 0.3, 0.8], seeds=1)
    curves(run, PLAIN, [0.1, 0.2, 0.3, 0.6, 0.7], seeds=1)
    assert words(run) == ["inconclusive"] * 2


def test_curves_of_each_fold_count_as_a_training(tmp_path: Path) -> None:
    run = claimed(tmp_path, Rougher("rougher", VGG), folds=2)
    rng = np.random.default_rng(0)
    for seed in range(3):
        for fold in (0, 1):
            for point, step in ((VGG, 0.1), (PLAIN, 0.01)):
                curve = (0.6 + step * rng.standard_normal(12)).tolist()
                config: Params = {**point, "seed": seed, "fold": fold}
                trained(run, config, curve, names=[f"{fold}-{n}" for n in range(8)])
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "supported" and len(verdict.contrasts[0].ours) == 3


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
    scored(run, VGG, around(0.6, 0.05))
    trained(run, {**RESNET, "seed": 0}, [0.8], state=state)
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert "a comparison takes two or more configurations" in verdict.why
    scored(run, PLAIN, around(0.5, 0.05))
    [verdict] = Results.load(run).verdicts
    assert verdict.word == "inconclusive"
    assert verdict.why.startswith("No configuration with model.encoder.name=resnet50 is complete.")


def test_a_configuration_without_rivals_is_not_called_best(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("best", {"model": "encoder"}))
    scored(run, RESNET, around(0.8, 0.05))
    assert words(run) == ["inconclusive"]
    scored(run, VGG, around(0.6, 0.05))
    assert "nothing to compare" in Results.load(run).verdicts[0].why


def test_where_every_network_scores_0_claims_are_inconclusive(tmp_path: Path) -> None:
    run = claimed(tmp_path, Best("b", VGG), Worst("w", VGG), Faster("f", VGG, PLAIN))
    for seed in SEEDS:
        trained(run, {**VGG, "seed": seed}, [0.0, 0.0, 0.0])
        trained(run, {**PLAIN, "seed": seed}, [0.0, 0.0, 0.0])
    assert words(run) == ["inconclusive"] * 3
    assert "never leaves 0" in Results.load(run).verdicts[2].why


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
    assert rows["difference"].tolist() == pytest.approx([0.1, -3.4])
    assert rows["seeds"].tolist() == [5, 5] and rows["patients"].tolist() == [8, 0]
    assert not rows["leaks"].any()


def test_the_page_shows_each_claim_with_a_picture(tmp_path: Path) -> None:
    run = claimed_run(tmp_path)
    tags = Tags(written(run))
    assert report_claims.TITLE in tags.text
    assert "R is best: supported" in tags.text and "F: supported" in tags.text
    assert "Difference in mean Dice at the last epoch" in written(run)


def test_where_slices_of_one_patient_are_split_every_table_says_that_it_leaks(
    tmp_path: Path,
) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    run = claimed_run(tmp_path, split=split | {"shared_patients": 3})
    assert sentences.LEAK in " ".join(shown(run).split())
    text = Tags(written(run)).text
    tables = ("the head", "the comparison", "the claims", "the ranking", "the table over seeds")
    assert text.count(sentences.LEAK) == len(tables)
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
