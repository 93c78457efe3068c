"""A plan follows its sweep, and adds up what it estimates."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from brainseg.cli.main import main
from brainseg.cli.plan import lines, read_sweep
from brainseg.cluster.placement import Placement
from brainseg.config.distributions import Value
from brainseg.config.hyperparameters import Encoder, First, TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Points, Sweep
from brainseg.launch.validate import all_points
from brainseg.planning.cost_model import CostModel, cost_key
from brainseg.planning.forecast import (
    Plan,
    Workload,
    estimate,
    expected_epochs,
    likely_sweeps,
    obstacle,
)
from brainseg.planning.plan import measured_configurations
from brainseg.planning.probe import Measured
from brainseg.records.files import read_json
from tests.planning.test_cost_model import MOBILENET, PLAIN, RESNET, SMALL, took

ROOT = Path(__file__).parents[2]
FOUND = {cost_key(PLAIN): took(1.0), cost_key(RESNET): took(3.0, peak=3 * 10**9)}


def place(concurrent: int = 1, workers: int = 1, memory: float = 64e9) -> Workload:
    placement = Placement(workers=workers, cpus=1, gpus=0, concurrent=concurrent)
    return Workload(train=10, validation=5, placement=placement, memory_bytes=memory)


def of_points(*points: Mapping[str, Value], seeds: tuple[int, ...] = (0,)) -> Sweep:
    return Sweep(
        name="p",
        question="?",
        space=Space(SMALL, search=()),
        first=points,
        strategy=Points(seeds=seeds),
    )


TWO = of_points(
    {"model": "plain", "model.plain.width": 4},
    {"model.encoder.name": "resnet18", "model.encoder.weights": "none"},
    seeds=(0, 1),
)


def drawing(**settings: int) -> Sweep:
    return Sweep(
        name="d",
        question="?",
        space=Space(replace(RESNET, epochs=30), search=("optimizer.adamw.lr", "epochs")),
        first=({"epochs": 20},),
        strategy=Bayes(**settings),
    )


def test_halving_in_the_mean() -> None:
    assert expected_epochs(Bayes(grace_epochs=4, reduction=3), 30) == pytest.approx(
        4 + 8 / 3 + 18 / 9
    )
    assert expected_epochs(Bayes(grace_epochs=4), 4) == 4
    assert expected_epochs(Bayes(grace_epochs=4), 3) == 3
    assert expected_epochs(Points(), 30) == 30


def test_a_plan_has_the_trials_that_the_sweep_would_have() -> None:
    (trials,) = likely_sweeps(TWO)
    assert len(trials) == TWO.trials == 4
    assert [cost_key(config) for config in trials] == 2 * [cost_key(PLAIN), cost_key(RESNET)]
    sweep = drawing(trials=7)
    for trials in likely_sweeps(sweep):
        assert len(trials) == 7 and trials[0].epochs == 20
        assert all(10 <= config.epochs <= 100 for config in trials[1:])
    assert len(likely_sweeps(drawing(trials=1))) == 1


def test_totals_are_the_sums_of_what_each_trial_takes() -> None:
    costs = CostModel(FOUND)
    each = {
        config: costs.start_seconds(config) + 4 * costs.epoch_seconds(config, 10, 5)
        for config in (PLAIN, RESNET)
    }
    points = all_points(TWO)
    alone, both = (estimate(TWO, points, FOUND, place(concurrent=n)) for n in (1, 2))
    assert alone.trials == 4 and alone.epochs.low == alone.epochs.high == 16
    assert alone.device_seconds.high == pytest.approx(2 * sum(each.values()))
    assert alone.seconds == alone.device_seconds == both.device_seconds
    assert both.seconds.high == pytest.approx(max(each[RESNET] * 2, each[PLAIN] + each[RESNET]), 1)
    assert [one.measured for one in alone.configurations] == [True, True]


def test_early_stopping_and_chance_make_a_range() -> None:
    sweep = drawing(trials=9, grace_epochs=4)
    found = estimate(sweep, all_points(sweep), FOUND, place())
    assert found.epochs.low < 0.6 * found.epochs.high <= 0.6 * 9 * 100
    assert found.device_seconds.low < found.device_seconds.high
    never = estimate(drawing(trials=9, grace_epochs=100), all_points(sweep), FOUND, place())
    assert found.epochs.high == never.epochs.high
    assert never.epochs.low > found.epochs.low


def test_what_was_not_measured_makes_the_range_wider() -> None:
    one = {cost_key(RESNET): FOUND[cost_key(RESNET)]}
    sure, unsure = (estimate(TWO, all_points(TWO), found, place()) for found in (FOUND, one))
    assert sure.device_seconds.low == sure.device_seconds.high
    assert unsure.device_seconds.low < unsure.device_seconds.high
    assert unsure.epochs == sure.epochs


def test_a_configuration_that_cannot_run_is_a_line_and_costs_nothing() -> None:
    sweep = of_points(*TWO.first, {"model": "encoder", "model.encoder.name": "resnet18",
                                   "model.encoder.decoder": "deeplabv3plus",
                                   "image_size": 40})  # fmt: skip
    points = all_points(sweep)
    outcomes = measured_configurations(points, lambda key: FOUND[key], place(), 2)
    found = estimate(sweep, points, outcomes, place())
    assert (
        "multiple of 16" in found.configurations[2].obstacle
        and not found.configurations[0].obstacle
    )
    usual = estimate(TWO, all_points(TWO), FOUND, place())
    assert found.device_seconds.high == pytest.approx(usual.device_seconds.high / 2)  # one seed
    assert any(line.startswith("does not fit: resnet18 deeplab") for line in lines(found, sweep))


def test_a_configuration_larger_than_its_share_of_memory_does_not_fit() -> None:
    points = all_points(TWO)
    roomy, tight = (estimate(TWO, points, FOUND, place(4, memory=gb * 1e9)) for gb in (16, 8))
    assert not any(one.obstacle for one in roomy.configurations)
    assert [bool(one.obstacle) for one in tight.configurations] == [False, True]
    assert tight.configurations[1].obstacle == "it needs 3.0 GB, there are 2.0 GB for each worker"
    assert "it needs at least" in obstacle(RESNET, place(memory=1e6))


def test_the_ends_are_measured_and_the_next_takes_the_place_of_one_that_fails() -> None:
    configs = [PLAIN, RESNET, MOBILENET, replace(RESNET, batch_size=8)]

    def probe(key: TrialConfig) -> Measured | str:
        return "killed" if key == cost_key(configs[3]) else took(1.0)

    found = measured_configurations(configs, probe, place(), 2)
    assert found[cost_key(configs[3])] == "killed"
    assert set(found) == {cost_key(config) for config in (PLAIN, RESNET, configs[3])}
    assert len(measured_configurations(configs, probe, place(), 9)) == 4
    assert len(measured_configurations(configs, probe, place(), 1)) == 1


def test_none_that_can_run_is_refused() -> None:
    with pytest.raises(
        ValueError, match="none of the sweep's configurations can run: too large; too large"
    ):
        estimate(TWO, all_points(TWO), dict.fromkeys(FOUND, "too large"), place())


def test_more_blocks_than_there_are_and_uneven_batches_are_obstacles() -> None:
    frozen = replace(RESNET, model=Encoder(name="resnet18", freeze=First(blocks=9)))
    assert "at most" in obstacle(frozen, place())
    assert "a multiple of the 3 workers, got 4" in obstacle(RESNET, place(workers=3))
    assert "did you mean" in obstacle(replace(SMALL, model=Encoder(name="resnet19")), place())


# The verb


@pytest.mark.ray
def test_a_smoke_plan_says_what_the_smoke_test_would_take_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    script = str(ROOT / "sweeps" / "encoders.py")
    wishes = ["--smoke", "--set=model=plain", "--trials=4", "--epochs=5", "--grace=1"]
    main(["plan", script, *wishes, "--json=plan.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    found = read_json(tmp_path / "plan.json")
    assert found["trials"] == 4 and [one["measured"] for one in found["configurations"]] == [True]
    assert found["epochs"]["high"] == 20 and found["epochs"]["low"] == pytest.approx(
        4 * (1 + 2 / 3 + 2 / 9)
    )
    said = " ".join(capsys.readouterr().out.split())
    assert (
        found["configurations"][0]["name"] == "plain U-Net, width 4"
        and "A step: 4 images of 64 pixels" in said
    )
    assert "4 trial(s), 8 to 20 epochs" in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "there is no "),
        ("x = 1", "it sets no `sweep = Sweep(...)`"),
        ("sweep = 3", "it sets no `sweep = Sweep(...)`"),
        ("import nowhere", "reading it raised ModuleNotFoundError (No module named 'nowhere')"),
        ("sweep = (", "reading it raised SyntaxError"),
    ],
)
def test_what_is_no_sweep_is_one_sentence_and_status_2(
    tmp_path: Path, text: str | None, why: str, capsys: pytest.CaptureFixture
) -> None:
    script = tmp_path / "script.py"
    if text is not None:
        script.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(script)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and why in said and len(said.splitlines()) == 1


def test_options_are_those_of_the_sweep(capsys: pytest.CaptureFixture) -> None:
    script = str(ROOT / "sweeps" / "encoders.py")
    for wishes, why in (
        (["--no-such"], "there is no option --no-such"),
        (["--measure", "0"], "--measure must be at least 1, got 0"),
        (["--seeds", "0,1"], "--seeds is for sweeps that run a fixed list of configurations"),
        (["--json", "no/such/place.json"], "--json must name a file in a folder that exists"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["plan", script, *wishes])
        assert ended.value.code == 2 and why in capsys.readouterr().err


def test_a_script_is_read_and_not_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    text = (ROOT / "sweeps" / "freezing.py").read_text()
    script.write_text(f"{text}\nassert __name__ != '__main__'\n")
    assert read_sweep(script).trials == 45


def test_totals_are_said_in_units_that_read_well() -> None:
    found = estimate(TWO, all_points(TWO), FOUND, place())
    assert isinstance(found, Plan) and flatten(SMALL)["epochs"] == 4
    said = "\n".join(lines(found, TWO))
    assert "4 trial(s), 16 epochs (none stopped early)" in said
    assert "device-minutes (a device: a worker on 1 CPU(s))" in said and "minutes by the" in said
