"""Laws of the report, on a small made-up run written through the records' own door."""

import re
import shlex
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from brainseg import figures, report
from brainseg.config import TrialConfig, arm
from brainseg.records import Run, append_line, write_json
from brainseg.space import Params, build, flatten, parse

PATIENTS = ("007", "NA", "Łódź, 東京\nsecond line")  # the first has no tumour
HOSTILE = "$\\no$<script>alert('x')</script>&amp;[red],\"a\" 脳"
VOID = {"meta", "br", "image", "use", "path", "rect", "circle"}


def begin(folder: Path, **changes: Any) -> Run:
    """A run in which no trial has begun."""
    run = Run(folder)
    sweep = {
        "name": "encoders",
        "question": "Which encoder?",
        "data": {
            "root": "/data/my scans",
            "fingerprint": "0123456789abcdef",
            "patients": 10,
            "slices": 200,
            "tumour_slices": 70,
            "made_up": False,
        },
        "split": {
            "by": "patients",
            "validation": 0.2,
            "test": 0.1,
            "seed": 0,
            "counts": {
                "test": {"patients": 1, "slices": 20},
                "train": {"patients": 6, "slices": 120},
                "validation": {"patients": 3, "slices": 60},
            },
        },
        "strategy": {"grace_epochs": 4, "reduction": 3, "seed": 0},
        "base": flatten(TrialConfig()),
        "fixed": {},
        "space": {"optimizer.adamw.lr": "LogUniform(low=0.0001, high=0.005)"},
        "first": [],
        "made": "2026-11-22T11:25:18+00:00",
        "uid": "3fa9c1d2",
        "command": "python sweeps/encoders.py --data '/data/my scans'",
        "versions": {"python": "3.11.2", "torch": "2.11.0"},
    }
    write_json(run.sweep, sweep | changes)
    return run


def train(run: Run, trial: str, dice: list[float], params: Params | None = None) -> None:
    """Rows of one epoch each, and the per-patient table and panels of the best of them."""
    config = build(TrialConfig(), params or {})
    folder, best_epoch = run.trial(trial), int(np.argmax(dice)) + 1
    run.note(trial, "running", arm=arm(config), params=flatten(config))
    for epoch, score in enumerate(dice, start=1):
        so_far = dice[:epoch]
        row = {"epoch": epoch, "seconds": 30.0, "devices": 2, "train_loss": 1 - score / 2}
        row |= {"val_loss": 1 - score, "dice": score, "iou": score / 2, "micro_dice": score / 3}
        row |= {"tumour_slice_dice": score / 4, "slice_dice_empty1": 0.9, "false_alarm": 0.1}
        row |= {"lr": 1e-3, "best_dice": max(so_far), "best_epoch": int(np.argmax(so_far)) + 1}
        append_line(folder.metrics, row)
    own = np.clip(max(dice) + np.array([0.1, 0.0, -0.1]), 0, 1)
    counts = {"tp": [0, 50, 40], "fp": [0, 5, 5], "fn": [0, 10, 20]}
    sizes = {"patient": PATIENTS, "slices": 20, "tumour_slices": [0, 6, 4]}
    table = pd.DataFrame({**sizes, **counts, "dice": own, "iou": own / 2})
    table.to_csv(folder.patients, index=False)
    paint(run, trial, labels=[f"{patient} slice 3" for patient in PATIENTS], epoch=best_epoch)


def paint(run: Run, trial: str, labels: list[str], epoch: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 16, 24, 3), np.uint8)
    masks = np.zeros((len(labels), 16, 24), np.uint8)
    masks[1:, 4:8, 5:9] = 1
    np.savez(run.trial(trial).panels, images=images, truths=masks, predictions=masks[::-1],
             labels=np.array(labels), epoch=epoch)  # fmt: skip


def end(run: Run, trial: str, state: Any, reason: str = "") -> None:
    rows = run.trial(trial).rows()
    best = max(rows, key=lambda row: row["dice"]) if rows else {}
    run.note(trial, state, dice=best.get("dice"), epoch=len(rows), best_epoch=best.get("epoch", 0),
             device_seconds=60.0 * len(rows), reason=reason)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four trials: one stopped early, the best, one that failed with a high score, one running."""
    run = begin(tmp_path / "encoders")
    train(run, "0000", [0.3, 0.4], {"model": "plain"})
    end(run, "0000", "stopped", "at epoch 2 it fell behind")
    train(run, "0001", [0.5, 0.8, 0.7], {"model.encoder.name": "vgg16"})
    end(run, "0001", "done")
    train(run, "0002", [0.9], {"optimizer": "sgd", "optimizer.sgd.lr": 0.3})
    end(run, "0002", "failed", f"not finite on {HOSTILE}")
    train(run, "0003", [0.6, 0.5])
    return run


def page(run: Run) -> str:
    return report.write_report(run).read_text(encoding="utf-8")


def printed(run: Run, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    report.print_ranking(run, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


class Tags(HTMLParser):
    """Fails if a tag closes that is not the one opened last; collects names, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value or "" for key, value in attrs if key.split(":")[-1] in LINKS]
        if tag not in VOID or tag == "image":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID or tag == "image":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


LINKS = ("src", "href", "srcset", "data", "action", "poster")


def test_the_best_score_comes_first_and_failed_trials_have_no_rank(run: Run) -> None:
    frame = report.ranking(run)
    assert frame["trial"].tolist() == ["0001", "0003", "0000", "0002"]
    assert frame["rank"].tolist()[:3] == [1, 2, 3] and pd.isna(frame["rank"].iloc[3])
    assert frame["reason"].iloc[3].startswith("not finite on")


def test_scores_are_those_of_the_best_epoch(run: Run) -> None:
    first = report.ranking(run).iloc[0]
    assert (first.dice, first.iou, first.best_epoch, first.epochs) == (0.8, 0.4, 2, 3)
    assert (first.patients, first.dice_median) == (3, pytest.approx(0.8))
    assert (first.dice_q1, first.dice_q3) == (pytest.approx(0.75), pytest.approx(0.85))


def test_a_running_trial_ranks_by_its_best_so_far(run: Run) -> None:
    second = report.ranking(run).iloc[1]
    assert (second.state, second.dice, second.best_epoch) == ("running", 0.6, 1)
    assert second.device_seconds == 2 * 30.0 * 2
    assert "highest so far" in report.answer(run, report.ranking(run))


def test_the_rate_is_that_of_the_optimizer_taken(run: Run) -> None:
    rates = report.ranking(run).set_index("trial")["lr"]
    assert (rates["0001"], rates["0002"]) == (1e-3, 0.3)


def test_results_round_trip(run: Run) -> None:
    path = report.write_results(run)
    read = pd.read_csv(path, dtype={"trial": str})
    frame = report.ranking(run)
    assert read["trial"].tolist() == frame["trial"].tolist()
    assert read["dice"].tolist() == frame["dice"].tolist()
    assert read["reason"].iloc[3] == f"not finite on {HOSTILE}"
    assert read["params.optimizer.sgd.lr"].iloc[3] == 0.3
    assert read["params.epochs"].iloc[0] == 30 and read["epochs"].iloc[0] == 3
    assert [path.name for path in run.path.glob("*results*")] == ["results.csv"]


def test_predicting_nothing_scores_the_share_of_patients_without_tumour(run: Run) -> None:
    table = pd.read_csv(run.trial("0001").patients)
    scores = report.nothing(table)
    assert scores["dice"] == pytest.approx(1 / 3)
    assert scores["slice_dice_empty1"] == pytest.approx(50 / 60)
    assert scores["micro_dice"] == scores["tumour_slice_dice"] == scores["false_alarm"] == 0
    assert report.nothing(table[:1])["micro_dice"] == 1
    assert "0.333" in printed(run) and "0.333" in page(run)


def test_the_answer_names_leader_spread_gap_and_doubt(run: Run) -> None:
    said = report.answer(run, report.ranking(run))
    assert said.startswith("vgg16, imagenet (trial 0001)")
    for part in ("0.800 over 3 validation patients", "between 0.75 and 0.85", "0.200 above"):
        assert part in said
    assert "better on 3 of 3 patients" in said and "Not yet confirmed" in said


def test_whatever_a_name_holds_the_page_stays_whole(tmp_path: Path) -> None:
    data = {"root": HOSTILE, "fingerprint": HOSTILE, "patients": 1, "slices": 1}
    data |= {"tumour_slices": 1, "made_up": False}
    run = begin(tmp_path / "encoders", question=HOSTILE, name=HOSTILE, command=HOSTILE, data=data)
    for trial in ("0000", "0001"):
        train(run, trial, [0.5, 0.6])
        table = pd.read_csv(run.trial(trial).patients)
        table.assign(patient=HOSTILE).to_csv(run.trial(trial).patients, index=False)
        paint(run, trial, [HOSTILE], epoch=2)
        run.note(trial, "done", arm=HOSTILE, reason=HOSTILE)
    text = page(run)
    tags = Tags(text)
    assert "script" not in tags.names and "<script" not in text
    assert tags.text.count("$\\no$<script>alert('x')</script>&amp;[red]") > 10
    assert "[red]" in printed(run)


def test_the_page_loads_nothing_from_anywhere(run: Run) -> None:
    text = page(run)
    tags = Tags(text)
    assert tags.links and all(re.match("#|data:image/png;base64,", link) for link in tags.links)
    assert not tags.names & {"script", "link", "iframe", "object", "embed", "base"}
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_the_page_has_every_part(run: Run) -> None:
    text = Tags(page(run)).text
    for part in ("Ranking", "Validation Dice", "Loss and learning rate", "Patients", "Slices"):
        assert part in text
    assert "at epoch 2 it fell behind" in text and f"not finite on {HOSTILE}" in text
    assert "1 done, 1 stopped, 1 failed, 1 running" in text
    assert "no tumour, none predicted" not in text and "slice Dice 1.00" in text
    assert "007: 0.900" in text and "NA: 0.800" in text  # names, no number and no gap
    assert "Not a medical device." in text


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_without_a_score_says_so(tmp_path: Path, begun: bool) -> None:
    run = begin(tmp_path / "encoders")
    if begun:
        run.note("0000", "running", arm="resnet50", params=flatten(TrialConfig()))
        run.note("0000", "failed", reason="out of memory")
    for text in (Tags(page(run)).text, printed(run)):
        assert "No trial has finished" in text
        assert ("out of memory" in text) == begun
    assert list(pd.read_csv(report.write_results(run))["state"]) == ["failed"] * begun


def test_a_trial_without_patients_or_panels_is_reported_all_the_same(run: Run) -> None:
    run.trial("0001").patients.unlink()
    run.trial("0001").panels.unlink()
    assert "vgg16, imagenet (trial 0001) scored highest" in Tags(page(run)).text
    assert "0.800" in printed(run)


def test_damaged_panels_are_named_and_the_rest_is_written(run: Run) -> None:
    run.trial("0001").panels.write_bytes(run.trial("0001").panels.read_bytes()[:900])
    assert "panels.npz cannot be read" in Tags(page(run)).text


def test_a_split_by_slices_says_that_it_leaks(run: Run) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    leaky = begin(run.path, split=split)
    assert "it leaks" in Tags(page(leaky)).text and "it leaks" in printed(leaky)
    assert "--split slices" in page(leaky)


def test_a_split_by_patients_does_not(run: Run) -> None:
    assert "leak" not in Tags(page(run)).text + printed(run)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"model": "plain", "model.plain.width": 16, "image_size": 64},
        {"model.encoder.freeze": "first", "model.encoder.freeze.first.blocks": 3, "epochs": 7},
        {"model.encoder.weights": "/my weights/it's.pth", "optimizer.adamw.lr": 0.1 + 0.2},
        {"optimizer": "sgd", "schedule": "triangular", "loss": "focaltversky"},
        {"sync_batch_norm": True, "precision": "float32", "clip_norm": 0.0},
    ],
)
def test_the_command_rebuilds_the_leader(tmp_path: Path, params: Params) -> None:
    run = begin(tmp_path / "encoders")
    train(run, "0000", [0.5], params)
    command = re.search(r"<pre>(.*?)</pre>", page(run), re.DOTALL)
    assert command
    words = shlex.split(Tags(command[0]).text.replace("\\\n", " "))
    assert words[:4] == ["brainseg", "train", "--data", "/data/my scans"]
    told = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    replayed = build(TrialConfig(), dict(parse(TrialConfig, word) for word in told))
    assert replayed == build(TrialConfig(), params)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(run: Run, width: int) -> None:
    report.write_results(run)
    lines = printed(run, width).splitlines()
    tall = [line for line in lines if len(line) > width and str(run.path) not in line]
    assert not tall
    assert [line for line in lines if re.match(r" *1 +0001 +vgg16, imagenet +0\.800 +0\.400", line)]
    assert any(str(run.results) == line for line in lines)
    assert not any("report.html" in line for line in lines)  # not written yet


def test_the_terminal_says_what_the_score_is(run: Run) -> None:
    text = " ".join(printed(run).split())
    assert "volume Dice, at 256x256 pixels" in text
    assert "validation 3 patients / 60 slices" in text
    assert "not yet a proof" in text


def test_made_up_patients_are_called_so(run: Run) -> None:
    sweep = report.read_json(run.sweep)
    made_up = begin(run.path, data=sweep["data"] | {"made_up": True})
    assert "made up" in Tags(page(made_up)).text and "made up" in printed(made_up)


def test_many_trials_still_make_a_light_page(tmp_path: Path) -> None:
    run = begin(tmp_path / "encoders")
    for n in range(30):
        train(run, f"{n:04d}", [n / 100, n / 50, n / 40])
        end(run, f"{n:04d}", "done")
    text = page(run)
    assert len(text) < 3_000_000
    assert len(re.findall(r"<title>\d{4}: resnet50", text)) == 30  # every curve has its name


def test_the_same_records_draw_the_same_page(run: Run) -> None:
    stamp = re.compile(r"Written by .*? UTC")
    assert stamp.sub("", page(run)) == stamp.sub("", page(run))


def test_an_outline_follows_the_edges_of_pixels() -> None:
    mask = np.zeros((4, 5), np.uint8)
    assert figures.outline(mask) == ""
    mask[1, 2] = 1
    assert set(re.findall(r"M[^M]+", figures.outline(mask))) == {
        "M2 1h1", "M2 2h1", "M2 1v1", "M3 1v1"
    }  # fmt: skip
    assert figures.outline(np.ones((4, 5), np.uint8)).count("M") == 2 * (4 + 5)


@pytest.mark.parametrize("heights", [[], [0.5], [0.1, 0.9], [0.5, 0.5, 0.5], [0.3, 0.1, 0.31, 0.2]])
def test_labels_keep_their_distance_and_their_order(heights: list[float]) -> None:
    placed = figures.spread(heights, gap=0.1)
    assert np.argsort(placed, kind="stable").tolist() == np.argsort(heights, kind="stable").tolist()
    assert all(np.diff(sorted(placed)) > 0.1 - 1e-9)
    if not any(np.diff(sorted(heights)) < 0.1):
        assert placed == heights
