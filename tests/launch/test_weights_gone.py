"""Weights that vanish after a sweep began are missed by trials that still start from them alone."""

from pathlib import Path

import pytest
import torch

from brainseg.config.distributions import Choice
from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Points, Sweep
from brainseg.launch.validate import check_weights, points_to_start
from brainseg.models.encoders import build_encoder
from brainseg.records.checkpoint_index import sha256, write_index
from brainseg.records.run import Run
from tests.support.written import new_run

GONE, PATH = "/gone/best.pt", "model.encoder.weights"
LISTED = Sweep(
    name="s",
    question="?",
    space=Space(TrialConfig(epochs=3), search=()),
    first=({PATH: GONE}, {PATH: "none"}),
    strategy=Points(seeds=(0, 1)),
)
DRAWN = Sweep(
    name="s",
    question="?",
    space=Space(TrialConfig(epochs=3), search=(PATH,), narrow={PATH: Choice(GONE, "none")}),
    strategy=Bayes(trials=2),
)


def begin(run: Run, sweep: Sweep, trial: str, weights: str, seed: int = 0) -> None:
    config = sweep.space.config({PATH: weights, "seed": seed})
    (run.path / "trials").mkdir(exist_ok=True)
    run.trial(trial).create(flatten(config))
    run.note(trial, "running", params=flatten(config))  # type: ignore[arg-type]


def save(run: Run, trial: str) -> None:
    (run.trial(trial).path / "latest-0001.pt").write_bytes(b"weights")
    write_index(run.trial(trial).path, {"latest-0001.pt": sha256(b"weights")})


def test_a_list_of_points_needs_weights_until_its_last_trial_has_a_checkpoint(
    tmp_path: Path,
) -> None:
    run = new_run(tmp_path / "s")
    for number, (seed, weights) in enumerate([(0, GONE), (0, "none"), (1, GONE)]):
        assert [p.model.weights for p in points_to_start(run, LISTED)].count(GONE) > 0
        begin(run, LISTED, f"000{number}", weights, seed)
    with pytest.raises(ValueError, match=r"there is no file /gone/best\.pt"):
        check_weights(points_to_start(run, LISTED), print)
    run.note("0000", "failed")  # type: ignore[arg-type]
    save(run, "0002")
    waiting = points_to_start(run, LISTED)
    assert {(p.model.weights, p.seed) for p in waiting} == {("none", 0), ("none", 1)}
    check_weights(waiting, print)
    (run.trial("0002").path / "latest-0001.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"there is no file /gone/best\.pt"):
        check_weights(points_to_start(run, LISTED), print)


def test_a_search_needs_all_that_it_may_still_draw(tmp_path: Path) -> None:
    run = new_run(tmp_path / "s")
    begin(run, DRAWN, "0000", GONE)
    save(run, "0000")
    with pytest.raises(ValueError, match=r"there is no file /gone/best\.pt"):
        check_weights(points_to_start(run, DRAWN), print)
    begin(run, DRAWN, "0001", "none")
    check_weights(points_to_start(run, DRAWN), print)


def test_before_the_first_trial_weights_without_numbers_are_refused_and_short_ones_told(
    tmp_path: Path,
) -> None:
    model = Encoder(name="resnet18", weights=str(tmp_path / "w.pth"))
    state = build_encoder("resnet18", 3).state_dict()
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(half, model.weights)
    printed: list[str] = []
    check_weights([TrialConfig(model=model)], printed.append)
    assert printed == [f"{model.weights} holds weights of float16; training continues in float32"]
    torch.save(half | {"conv1.weight": half["conv1.weight"] * torch.nan}, model.weights)
    with pytest.raises(ValueError, match=r"w\.pth holds 'conv1\.weight', .* the first nan"):
        check_weights([TrialConfig(model=model)], printed.append)
