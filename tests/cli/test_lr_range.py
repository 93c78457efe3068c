"""`brainseg lr-range`: a curve, a picture, and words that can be pasted into `train`."""

import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from brainseg.cli.lr_range import words
from brainseg.cli.main import main
from brainseg.config.hyperparameters import Adam, ExpRange, Plain, Sgd, TrialConfig, Triangular
from brainseg.config.schema import build, flatten, parse
from brainseg.data.phantom import write_phantoms
from brainseg.training.lr_range import Bounds, read_bounds
from brainseg.training.optim import momentum_of
from brainseg.training.schedules import build_schedule

torch.set_num_threads(1)
TINY = [
    "--set=model=plain",
    "--set=model.plain.width=4",
    "--set=model.plain.depth=2",
    "--set=model.plain.dropout=0",
    "--set=batch_size=8",
    "--set=precision=float32",
    "--image-size=32",
    "--validation=0.3",
    "--test=0",
]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=12, size=48)


def lr_range(patients: Path, out: Path, *wishes: str) -> None:
    main(["lr-range", f"--data={patients}", *TINY, f"--out={out}", *wishes])


def pasted(text: str, base: TrialConfig) -> TrialConfig:
    """``base`` with the `--set` words of a command line."""
    options = shlex.split(text)
    assert set(options[::2]) == {"--set"}
    return build(base, dict(parse(TrialConfig, word) for word in options[1::2]))


def test_it_writes_curve_and_picture_and_says_which_words_to_paste(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    lr_range(patients, tmp_path / "out", "--steps=60", "--set=loss=dicebce", "--set=lr=auto")
    printed = capsys.readouterr().out
    bounds = read_bounds(tmp_path / "out" / "lr_range.csv")
    assert 1e-7 < bounds.low < bounds.high < 10
    with Image.open(tmp_path / "out" / "lr_range.png") as picture:
        assert picture.width >= 800
    assert (
        f"starts to fall at lr {bounds.low:.2g} and has nearly bottomed out at {bounds.high:.2g}"
        in printed
    )
    assert "step 6/60  rate " in printed and "step 60/60  rate 1.0e+01" in printed
    line = next(line for line in printed.splitlines() if line.startswith("  --set"))
    config = pasted(line, TrialConfig(model=Plain()))
    assert isinstance(config.schedule, Triangular)
    assert config.optimizer.lr == pytest.approx(bounds.high, rel=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # and no run is left behind


def test_where_the_loss_never_falls_the_picture_shows_it_and_no_bounds_are_kept(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        lr_range(patients, tmp_path, "--steps=20", "--highest=1e-6")
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert (
        "needs a loss that falls" in message and f"{tmp_path / 'lr_range.png'} shows it" in message
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lr_range.png"]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ("--steps=5", "takes at least 10 steps, got 5"),
        ("--lowest=1", "from a rate above 0 to a higher one, got 1 to 0.1"),
        ("--set=optimizer.adamw.lrr=1", "there is no hyperparameter 'optimizer.adamw.lrr'"),
        ("--image-size=30", "image_size must be a multiple of 4"),
        ("--out=/dev/null/here", "--out names a folder to write into"),
    ],
)
def test_what_cannot_be_tested_is_refused_in_one_sentence(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture, wish: str, says: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        lr_range(patients, tmp_path / "out", "--highest=0.1", wish)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("brainseg: ") and says in message and message.count("\n") == 1


@pytest.mark.parametrize(
    "config",
    [
        TrialConfig(),
        TrialConfig(optimizer=Sgd(), schedule=ExpRange(cycle_epochs=4, gamma=1.0)),
        TrialConfig(optimizer=Adam(), schedule=Triangular(cycle_epochs=2)),
    ],
    ids=["neither cyclical", "exprange", "triangular"],
)
def test_the_words_let_the_rate_cycle_between_the_bounds(config: TrialConfig) -> None:
    bounds = Bounds(low=3.456e-5, high=0.01234)
    cyclical = pasted(words(flatten(config), bounds), config)
    schedule = build_schedule(
        cyclical.schedule,
        peak=cyclical.optimizer.lr,
        momentum=momentum_of(cyclical.optimizer),
        steps_per_epoch=10,
        epochs=8,
    )
    rates = [schedule(step).lr for step in range(80)]
    assert min(rates) == pytest.approx(bounds.low, rel=0.01)
    assert max(rates) == pytest.approx(bounds.high, rel=0.01)
    if not isinstance(config.schedule, type(TrialConfig().schedule)):
        assert type(cyclical.schedule) is type(config.schedule)
