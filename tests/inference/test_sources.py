"""A path is a bundle, a trial or a run; anything else is refused in one sentence."""

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build
from brainseg.inference.bundle import write_bundle
from brainseg.inference.sources import open_model
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
from tests.support.confirm_run import add_configuration, confirmation, scores
from tests.support.networks import keep_networks
from tests.support.small_run import begin
from tests.support.written import append_line

NARROW: Params = {"model": "plain", "model.plain.width": 2, "image_size": 32}
WIDE: Params = {**NARROW, "model.plain.width": 4}
NORMS: Params = {**NARROW, "model.plain.norm": "instance"}


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two plain U-Nets in five folds and two seeds; of a third every trial failed."""
    run = confirmation(tmp_path_factory.mktemp("confirmed"))
    add_configuration(run, NARROW, scores(0.7, draw=1), sizes=False)
    add_configuration(run, WIDE, scores(0.8, draw=2), sizes=False)
    fails = {(seed, fold): "no memory" for seed in (1, 2) for fold in range(5)}
    add_configuration(run, NORMS, scores(0.9, draw=3), sizes=False, fails=fails)
    keep_networks(run)
    return run


@pytest.fixture
def copy(confirmed: Run, tmp_path: Path) -> Run:
    """The same run, to be damaged."""
    copytree(confirmed.path, tmp_path / "run")
    return Run(tmp_path / "run")


def test_a_confirmation_is_the_ensemble_of_its_winner(confirmed: Run) -> None:
    model = open_model(confirmed.path)
    described = model.description
    assert described.name == "plain U-Net, width 4; norm batch" and described.kind == "ensemble"
    folds = [(member.seed, member.fold) for member in described.members]
    assert folds == [(seed, fold) for seed in (1, 2) for fold in range(5)]
    assert {member.epoch for member in described.members} == {1}
    image = np.random.default_rng(0).integers(0, 255, (2, 30, 30, 3), np.uint8)
    alone = [open_model(confirmed.trial(m.trial).path) for m in described.members]
    mean = np.mean([model.probabilities(image) for model in alone], axis=0)
    assert np.allclose(model.probabilities(image), mean, atol=1e-6)
    assert not np.allclose(alone[0].probabilities(image), mean, atol=1e-4), "members differ"


def test_another_configuration_is_asked_for_by_name_or_trial(confirmed: Run) -> None:
    assert len(open_model(confirmed.path, "plain U-Net, width 2").networks) == 10
    assert open_model(confirmed.path, "0003").description.name == "plain U-Net, width 2; norm batch"


def test_a_folder_that_is_no_model_is_refused(confirmed: Run, tmp_path: Path) -> None:
    copytree(confirmed.trial("0000").path, tmp_path / "away")
    write_bundle(tmp_path / "bundle", open_model(confirmed.trial("0000").path))
    refusals = {
        tmp_path / "nothing": "nothing does not exist",
        tmp_path: "is none of them",
        confirmed.sweep: f"is a file; name its folder, {confirmed.path}",
        confirmed.path.parent: "is a folder of runs; name one of run",
        confirmed.path / "trials": f"name {confirmed.path}, or one of the trials",
        tmp_path / "away": "must lie in its run, under trials/",
        confirmed.trial("0020").path: "trial 0020 of .* failed .no memory.; name another one",
    }
    for path, says in refusals.items():
        with pytest.raises(ValueError, match=says) as refusal:
            open_model(path)
        assert "\n" not in str(refusal.value)
    for one in (tmp_path / "bundle", confirmed.trial("0000").path):
        with pytest.raises(ValueError, match="a run alone has several configurations"):
            open_model(one, "0001")


def test_a_path_may_be_typed_from_within_the_folder(
    confirmed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(confirmed.trial("0000").path)
    assert open_model(Path(".")).description.members[0].trial == "0000"
    monkeypatch.chdir(confirmed.path)
    assert open_model(Path(".")).description.kind == "ensemble"


def test_a_trial_that_has_not_ended_is_no_model(copy: Run) -> None:
    copy.note("0000", TrialState.RUNNING)
    with pytest.raises(ValueError, match=r"trial 0000 of .* is running; run the sweep's command"):
        open_model(copy.trial("0000").path)


def test_a_network_that_is_missing_or_damaged_is_named(copy: Run) -> None:
    network = copy.trial("0013").last_network
    whole = network.read_bytes()
    other = {"weights": [1, 2]}
    for held in (None, b"", whole[: len(whole) // 2], b"\0" * 100, other):
        network.unlink(missing_ok=True)
        if isinstance(held, bytes):
            network.write_bytes(held)
        elif held is not None:
            torch.save(held, network)
        with pytest.raises(ValueError, match=r"trials/0013/last\.pt cannot be read: it is"):
            open_model(copy.path)
    copy.trial("0000").last_network.replace(network)  # of another width
    with pytest.raises(ValueError, match="its tensors are not those of the network"):
        open_model(copy.path)


def refitted(run: Run, name: str, trial: str, *, done: bool = True) -> Run:
    """A refit of the configuration of ``trial``, as `brainseg refit` leaves it."""
    params = {**run.record(trial).params, "seed": 7, "fold": 0}
    refits = {"run": str(run.path), "name": "encoders", "uid": "3fa9c1d2", "group": "encoders"}
    refits |= {"configuration": "x", "trial": trial, "measured": "out of fold", "patients": 40}
    refits |= {"dice": 0.8, "low": 0.7, "high": 0.9}
    strategy = {"kind": "points", "seeds": [7]}
    refit = begin(run.path.with_name(name), strategy=strategy, phase="refit", refits=refits)
    name = configuration_name(build(TrialConfig(), params))
    refit.note("0000", TrialState.RUNNING, configuration=name, params=params)
    if done:
        refit.note("0000", TrialState.DONE, dice=None, epoch=2, best_epoch=2)
    keep_networks(refit)
    return refit


def test_the_refit_is_the_model_unless_the_ensemble_is_asked_for(copy: Run) -> None:
    winner = open_model(copy.path).description
    refitted(copy, "search-refit", winner.members[0].trial)
    model = open_model(copy.path)
    assert model.description.kind == "refit" and len(model.networks) == 1
    assert model.description.members[0].seed == 7
    assert model.description.scores["dice"] == 0.8 and model.description.scores["of"] == "encoders"
    assert open_model(copy.path, refit=False).description == winner
    assert open_model(copy.path.with_name("search-refit")).description == model.description


def test_a_refit_counts_for_its_own_configuration_once_it_is_finished(copy: Run) -> None:
    refitted(copy, "search-refit", "0010", done=False)
    assert open_model(copy.path).description.kind == "ensemble", "its refit has not finished"
    slug = "search-refit-plain-u-net-width-2-norm-batch"
    refitted(copy, slug, "0000")
    narrow = open_model(copy.path, "plain U-Net, width 2").description
    assert narrow.kind == "refit" and narrow.config["model.plain.width"] == 2
    folder, remedy = copy.path.with_name("search-refit"), f"`brainseg refit {copy.path}`"
    unfinished = "the refit has not reached its last epoch"
    with pytest.raises(ValueError, match=f"{unfinished}.*{remedy} lets it finish"):
        open_model(folder)
    append_line(Run(folder).trial("0000").metrics, {"epoch": 1, "seconds": 1.0, "devices": 1})
    for state, ending in (
        (TrialState.STOPPED, f"move {folder} away, then {remedy} starts it anew"),
        (TrialState.FAILED, f"{remedy} with --retry-failed"),
    ):
        Run(folder).note("0000", state, reason="by hand")
        with pytest.raises(ValueError, match=rf"{unfinished} \(1 of \d+\).*{ending}"):
            open_model(folder)


def test_another_sweep_in_the_place_of_a_refit_is_no_refit(copy: Run) -> None:
    begin(copy.path.with_name("search-refit"))
    assert open_model(copy.path).description.kind == "ensemble"
