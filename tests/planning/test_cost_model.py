"""Work is counted as it is, and estimates agree with what was measured."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from brainseg.config.hyperparameters import Encoder, First, Gradual, Plain, Sgd, TrialConfig, Whole
from brainseg.config.schema import flatten
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.draw import split_by_patient
from brainseg.models.flops import work
from brainseg.planning.cost_model import CostModel, Line, cost_key, line_through, steady, work_at
from brainseg.planning.probe import Measured, in_own_process, measure
from brainseg.records.run import Run
from brainseg.training.lr_range import STEPS
from tests.support.tasks import task_of
from tests.support.written import write_json

SMALL = TrialConfig(image_size=32, batch_size=4, epochs=4, precision="float32")
PLAIN = replace(SMALL, model=Plain(width=4))
RESNET = replace(SMALL, model=Encoder(name="resnet18", weights="none"))
MOBILENET = replace(SMALL, model=Encoder(name="mobilenet_v2", weights="none"))


def took(step: float, peak: int = 10**9) -> Measured:
    return Measured(
        start_seconds=2 * step,
        step_seconds=step,
        image_seconds=step / 10,
        keep_seconds=step / 5,
        peak_bytes=peak,
        capacity_bytes=0,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run's folder of made-up patients, in which configurations can be measured."""
    folder = tmp_path_factory.mktemp("costs")
    data = write_phantoms(folder / "p", patients=6, slices=6, size=32)
    table = find_slices(data)
    table["part"] = split_by_patient(table, validation=0.3, test=0.0)
    run = Run(folder / "run")
    run.path.mkdir()
    table.to_csv(run.slices, index=False)
    recorded = {"root": str(data), "fingerprint": fingerprint(table, data)}
    write_json(run.sweep, {"data": recorded})
    return run


def test_work_grows_with_images_and_falls_with_what_is_frozen() -> None:
    of_two, of_four = (
        work(RESNET.model, channels=3, image_size=32, images=n, frozen=0) for n in (2, 4)
    )
    assert of_four.step_flops == 2 * of_two.step_flops and of_four.image_flops == of_two.image_flops
    frozen = [work_at(replace(RESNET, model=replace(RESNET.model, freeze=First(blocks=n))), 1)
              for n in (1, 2, 4)]  # fmt: skip
    whole = [work_at(RESNET, 1), *frozen]
    for more, less in pairwise(whole):
        assert more.image_flops == less.image_flops and more.parameters == less.parameters
        assert more.step_flops > less.step_flops
        assert more.trained > less.trained and more.activations > less.activations


def test_grouped_convolutions_are_no_more_work_backward_than_twice_forward() -> None:
    flops = work(Encoder(name="efficientnet-b0"), channels=3, image_size=32, images=2, frozen=0)
    assert flops.step_flops <= 3 * 2 * flops.image_flops


def test_a_network_that_cannot_run_says_so() -> None:
    with pytest.raises(ValueError, match="does not train on 2 images of 33 pixels"):
        work(Plain(), channels=3, image_size=33, images=2, frozen=0)


def test_a_line_goes_through_two_points_and_never_below_nothing() -> None:
    line = line_through([1, 3], [2, 4])
    assert (line(1), line(3), line(2)) == pytest.approx((2, 4, 3))
    assert line_through([1, 2], [1, 4]).constant == 0  # would begin at -2
    assert line_through([1, 2], [3, 1]).slope == 0  # would fall
    assert 1 < line_through([1, 2], [3, 1])(7) < 3
    assert line_through([4], [2]) == Line(0.0, 0.5)


def test_settings_that_do_not_change_an_epoch_s_cost_share_a_cost_key() -> None:
    other = replace(RESNET, model=replace(RESNET.model, weights="imagenet", layer_decay=0.7))
    assert cost_key(replace(other, seed=3, epochs=9, lr="auto")) == cost_key(RESNET)
    for dearer in (PLAIN, replace(RESNET, batch_size=8), replace(RESNET, optimizer=Sgd())):
        assert cost_key(dearer) != cost_key(RESNET)


def test_a_measured_configuration_costs_what_was_measured_and_others_lie_between() -> None:
    costs = CostModel({cost_key(PLAIN): took(1.0), cost_key(RESNET): took(3.0)})
    assert costs.step_seconds(PLAIN) == pytest.approx(1.0)
    assert costs.epoch_seconds(RESNET, train=10, validation=5) == pytest.approx(
        1.02 * (2 * 3.0 + 5 * 0.3)
    )  # 10 slices make two whole batches of 4; a checkpoint costs 0.6 s, and so not each epoch
    assert 1.0 < costs.step_seconds(MOBILENET) < 3.0
    assert costs.start_seconds(RESNET) == pytest.approx(6.0)
    auto = costs.start_seconds(replace(RESNET, lr="auto"))
    assert auto == pytest.approx(6.0 + STEPS * 3.0)


def test_gradual_unfreezing_costs_between_all_frozen_and_nothing_frozen() -> None:
    costs = CostModel({cost_key(PLAIN): took(1.0), cost_key(RESNET): took(3.0)})
    whole, gradual = (
        replace(RESNET, model=replace(RESNET.model, freeze=way)) for way in (Whole(), Gradual())
    )
    low, middle = costs.step_seconds(whole), costs.step_seconds(gradual)
    assert low < middle < costs.step_seconds(RESNET)
    assert steady(gradual) == RESNET and steady(whole) == whole


def test_checkpoints_are_as_large_as_what_they_hold() -> None:
    costs = CostModel({cost_key(PLAIN): took(1.0)})
    parameters = work_at(PLAIN, 1).parameters
    assert costs.checkpoint_bytes(PLAIN) == (4 * parameters, 12 * parameters)
    assert costs.checkpoint_bytes(replace(PLAIN, optimizer=Sgd()))[1] == 8 * parameters


def test_real_configurations_are_measured_and_the_memory_of_one_follows_from_the_others(
    run: Run,
) -> None:
    costs = {}
    for name, config in {"p": PLAIN, "m": MOBILENET, "r": RESNET}.items():
        write_json(run.trial(name).config, flatten(config))
        measured = in_own_process(run, name, threads=1, on_gpu=False)
        assert isinstance(measured, Measured), measured
        assert min(measured.start_seconds, measured.step_seconds, measured.keep_seconds) > 0
        assert measured.capacity_bytes == 0 and measured.peak_bytes > 10**8
        costs[cost_key(config)] = measured
    ends = {key: cost for key, cost in costs.items() if key != cost_key(MOBILENET)}
    estimated = CostModel(ends).peak_bytes(MOBILENET)
    assert estimated == pytest.approx(costs[cost_key(MOBILENET)].peak_bytes, rel=0.25)
    assert ends[cost_key(PLAIN)].peak_bytes < ends[cost_key(RESNET)].peak_bytes


def test_measuring_leaves_no_row_and_changes_no_trial(run: Run) -> None:
    task = task_of(run, "in-here", PLAIN)
    measure(task, torch.device("cpu"))
    assert not task.folder.metrics.read_text() and not task.folder.costs_path.exists()


def test_a_configuration_that_cannot_be_measured_is_a_sentence(run: Run) -> None:
    write_json(run.trial("bad").config, flatten(PLAIN) | {"channels": 4})
    why = in_own_process(run, "bad", threads=1, on_gpu=False)
    assert isinstance(why, str) and "channels" in why and "\n" not in why


def test_the_probe_is_found_from_any_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    write_json(run.trial("away").config, flatten(PLAIN))
    assert isinstance(in_own_process(run, "away", threads=1, on_gpu=False), Measured)
    assert not list(tmp_path.iterdir())
