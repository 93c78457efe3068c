"""Tables in a narrow terminal: columns go before a name breaks, and a name breaks at its commas."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from brainseg.analysis.comparison import compare
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.distributions import Choice, LogUniform, Params
from brainseg.records.run import Run
from brainseg.report import columns
from brainseg.report.comparison_tables import print_comparison
from tests.support.confirm_run import add_configuration, confirmation, scores
from tests.support.reports import printed
from tests.support.small_run import begin, end, train

ENCODERS = (  # with the weights on imagenet: 15 to 41 characters
    *("vgg16", "efficientnet-b4", "tu-convnextv2_tiny", "tu-swin_tiny_patch4_window7_224"),
    *("timm-resnest101e", "tu-mobilenetv3_large_100.ra", "resnet34"),
)
SPACE = {
    "model.encoder.name": str(Choice(*ENCODERS)),
    "optimizer.adamw.lr": str(LogUniform(1e-4, 5e-3)),
}


def searched(folder: Path) -> Run:
    """A search with long names, five hyperparameters that vary, expected Dice, a failed trial."""
    run = begin(folder, space=SPACE, strategy={"kind": "bayes"})
    for n, encoder in enumerate(ENCODERS):
        point: Params = {
            "model.encoder.name": encoder,
            "optimizer.adamw.lr": 1e-3 + n / 1e4,
            "batch_size": (8, 16)[n % 2],
            "augment.rotate_degrees": 10.0 + n,
            "schedule": ("cosine", "constant")[n % 2],
            "seed": n % 3,
            "epochs": 30,
        }
        train(run, f"{n:04d}", [0.3, 0.5, 0.6 + n / 100] * 10, point)
        end(run, f"{n:04d}", "done")
    run.note("0007", "running", configuration="tu-convnextv2_tiny, imagenet, first 3 frozen")
    run.note("0007", "failed", reason="out of memory")
    return run


def over_seeds(folder: Path) -> Run:
    run = begin(folder, strategy={"kind": "points", "seeds": [0, 1]})
    for n in range(8):
        point: Params = {
            "model.encoder.name": ENCODERS[2 + n // 4],
            "optimizer.adamw.lr": (1e-3, 1e-4)[n // 2 % 2],
            "seed": n % 2,
        }
        train(run, f"{n:04d}", [0.5, 0.6 + n / 100], point)
        end(run, f"{n:04d}", "done")
    return run


def lines_printed(run: Run, width: int) -> list[str]:
    return printed(run, width).splitlines()


def of_table(lines: list[str]) -> list[str]:
    """The lines of the first table."""
    start = next(n for n, line in enumerate(lines) if "───" in line)
    return lines[start + 1 : next(n for n in range(start, len(lines)) if "slice" in lines[n])]


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("make", [searched, over_seeds])
def test_no_name_of_usual_length_is_broken(tmp_path: Path, make: object, width: int) -> None:
    assert callable(make)
    run = make(tmp_path / "run")
    lines = of_table(lines_printed(run, width))
    names = {
        record.configuration
        for record in run.trials()
        if len(record.configuration) <= columns.USUAL
    }
    assert len(names) > 1 and max(map(len, names)) > 25
    for name in names:
        assert any(re.search(rf"{re.escape(name)}( |$)", line) for line in lines), name


@pytest.mark.parametrize("width", [80, 100, 120])
def test_lines_break_between_hyperparameters_and_fit_the_terminal(
    tmp_path: Path, width: int
) -> None:
    run = searched(tmp_path / "run")
    shown = lines_printed(run, width)
    assert max(len(line) for line in shown if str(run.path) not in line) <= width
    text = "\n".join(of_table(shown))
    for n in range(len(ENCODERS)):
        assert f"rotate_degrees {10 + n}" in text and f"lr {1e-3 + n / 1e4:.2g}" in text


def test_columns_without_room_are_named_with_the_file_that_has_them(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    assert "Not shown in 80 columns: IoU, Epochs, Time; see results.csv." in lines_printed(run, 80)
    assert not any(line.startswith("Not shown") for line in lines_printed(run, 120))
    short = over_seeds(tmp_path / "short")
    assert not any(line.startswith("Not shown") for line in lines_printed(short, 120))


def test_names_of_a_comparison_break_at_commas_alone(tmp_path: Path) -> None:
    run = confirmation(tmp_path)
    for luck, encoder in enumerate(ENCODERS[1:4]):
        point: Params = {"model.encoder.name": encoder, "model.encoder.freeze": "first"}
        add_configuration(run, point, scores(0.8 - luck / 20, draw=luck), sizes=False)
    snapshot, console = RunSnapshot.load(run), Console(file=StringIO(), width=80)
    print_comparison(snapshot, compare(snapshot), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(len(line) for line in lines if str(run.path) not in line) <= 80
    for encoder in ENCODERS[1:4]:
        assert any(line.startswith(f" {encoder}, ") for line in lines)
    assert sum("first 2 frozen " in line for line in lines) >= 3
    assert "Not shown in 80 columns: Not worse, P(best), Ranks, Failed; see compare.csv." in lines


def test_a_command_with_a_path_wider_than_the_terminal_can_still_be_copied() -> None:
    path, console = f"/runs/{'x' * 60}/encoders", Console(file=StringIO(), width=40)
    columns.print_prose(console, f"Higher than all others. `brainseg confirm {path}` tests it.")
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "Higher than all others. `brainseg",
        "confirm",
        f"{path}`",
        "tests it.",
    ]


def test_a_part_that_is_wider_than_any_line_stands_on_its_own() -> None:
    assert columns.broken("a, bb, " + "c" * 30 + ", d", 10) == f"a, bb,\n{'c' * 30},\nd"
    assert columns.broken("", 10) == "" and columns.broken("a, b", 4) == "a, b"


def test_columns_go_in_their_order_and_only_as_many_as_must() -> None:
    cells = {"Dice": ["0.800"], "IoU": ["0.400"], "Time": ["30 min"]}
    fit = columns.fit(cells, ["x" * 20], droppable=("IoU", "Time"), width=60)
    assert fit == (["Dice", "IoU", "Time"], 60 - 2 - 7 - 7 - 8)
    assert columns.fit(cells, ["x" * 20], droppable=("IoU", "Time"), width=40)[0] == [
        "Dice",
        "Time",
    ]
    assert columns.fit(cells, ["x" * 20], droppable=("IoU", "Time"), width=20)[0] == ["Dice"]
