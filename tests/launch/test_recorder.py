"""The driver's bookkeeping stays small beside the trials, however many there are."""

from pathlib import Path

import pytest
from ray.tune.experiment import Trial

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Budget, Points, Sweep
from brainseg.launch.recorder import Recorder
from brainseg.launch.tune_adapter import EpochListener, SweepSearcher
from brainseg.records.run import Run
from brainseg.search.budget import BudgetTracker
from brainseg.search.driver import SearchDriver
from brainseg.search.halving import Halving
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from brainseg.tracking.mirror import Mirror
from tests.support.written import append_line, new_run

COUNTERS = Path("/proc/self/io")


def bytes_read() -> int:
    """What this process has read so far, as the kernel counts it."""
    return int(COUNTERS.read_text().split("rchar: ")[1].split()[0])


def epoch(run: Run, name: str, number: int) -> dict[str, float]:
    """What a worker leaves of an epoch, and reports."""
    row = {"epoch": number, "dice": 0.5, "best_dice": 0.5, "best_epoch": 1, "devices": 1}
    row |= {"seconds": 1.0, "train_loss": 0.5, "parameters": 7}
    append_line(run.trial(name).metrics, row)
    cost = {"epoch": number, "start": 0.0, "train": 1.0, "score": 0.0, "keep": 0.0, "devices": 1}
    append_line(run.trial(name).costs_path, cost)
    return row


def driven(path: Path, *, trials: int, epochs: int) -> int:
    """Bytes that a driver reads from its first trial to its last, each trained to its end."""
    space = Space(TrialConfig(epochs=epochs), search=())
    strategy = Points(seeds=tuple(range(trials)))
    sweep = Sweep(name="s", question="?", space=space, first=({},), strategy=strategy)
    run, printed = new_run(path), list[str]()
    patience = Budget(patience=10 * trials)  # never lost, and looked at before each trial
    study, budget_tracker = Study(run, sweep), BudgetTracker(run, patience)
    scheduler = TrialScheduler(run, Halving(grace=epochs, reduction=3))
    driver = SearchDriver(run, study, scheduler, budget_tracker, num_trials=trials, slots=lambda: 1)
    searcher, listener = SweepSearcher(driver), EpochListener(driver)
    recorder = Recorder(driver, Mirror(run, "off", printed.append), lambda name: "", printed.append)
    before = bytes_read()
    while (config := searcher.suggest("one")) != SweepSearcher.FINISHED:
        trial = Trial("one", config=config, stub=True)
        recorder.on_trial_start(0, [], trial)
        for number in range(1, epochs + 1):
            row = epoch(run, config["trial"], number)
            listener.on_trial_result(None, trial, row)
            recorder.on_trial_result(0, [], trial, row)
        searcher.on_trial_complete("one")
        recorder.on_trial_complete(0, [], trial)
    assert printed[-1].endswith(f"{trials} of {trials} trials ended")
    return bytes_read() - before


@pytest.mark.skipif(not COUNTERS.exists(), reason="the system does not count what is read")
@pytest.mark.parametrize("sizes", [[(4, 3), (8, 3), (16, 3)], [(1, 10), (1, 20), (1, 40)]])
def test_what_a_driver_reads_grows_in_proportion_to_trials_and_to_epochs(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    driven(tmp_path / "first", trials=1, epochs=1)  # what is imported late is read here
    few, more, most = (
        driven(tmp_path / str(size), trials=trials, epochs=epochs)
        for size, (trials, epochs) in enumerate(sizes)
    )
    assert most - more < 2.5 * (more - few)  # 2 where it grows in proportion, 4 with the square


def test_what_a_trial_s_process_found_wrong_with_its_files_is_logged_once(tmp_path: Path) -> None:
    space = Space(TrialConfig(epochs=3, precision="float32"), search=())
    sweep = Sweep(name="s", question="?", space=space, first=({},), strategy=Points())
    run, printed = new_run(tmp_path / "run"), list[str]()
    study, scheduler = Study(run, sweep), TrialScheduler(run, Halving(grace=3, reduction=3))
    tracker = BudgetTracker(run, Budget())
    driver = SearchDriver(run, study, scheduler, tracker, num_trials=1, slots=lambda: 1)
    name = driver.next()
    assert name
    trial = Trial("one", config={"trial": name}, stub=True)
    run.trial(name).note(0, "of an earlier driver")
    recorder = Recorder(driver, Mirror(run, "off", printed.append), lambda name: "", printed.append)
    recorder.on_trial_start(0, [], trial)
    run.trial(name).note(1, "latest-0002.pt is damaged; resumes after epoch 1")
    for number in (1, 2):
        recorder.on_trial_result(0, [], trial, epoch(run, name, number))
    kept = run.trial(name).path / "latest-0002.pt"
    kept.write_bytes(b"")
    run.trial(name).failure.write_text("no checkpoint is whole")
    run.trial(name).note(2, "metrics.jsonl was missing")
    recorder.on_trial_complete(0, [], trial)
    texts = [line for line in printed if "epoch 1/" not in line and "epoch 2/" not in line]
    assert texts[1:3] == [
        f"[{name}] latest-0002.pt is damaged; resumes after epoch 1",
        f"[{name}] metrics.jsonl was missing",
    ]
    assert len(texts) == 4 and kept.exists(), "what failed may be tried again"
    kept.rename(kept.with_name("latest-0001.pt"))  # a kill may leave an epoch without a checkpoint
    recorder.on_trial_start(0, [], trial)
    assert printed[-1].startswith(f"[{name}] resumes after epoch 1: ")


def test_that_a_machine_is_measured_and_what_is_decided_are_logged_once(tmp_path: Path) -> None:
    space = Space(TrialConfig(epochs=2), search=())
    sweep = Sweep(name="s", question="?", space=space, first=({},), strategy=Points())
    run, printed = new_run(tmp_path / "run"), list[str]()
    study, scheduler = Study(run, sweep), TrialScheduler(run, None)
    tracker = BudgetTracker(run, Budget())
    driver = SearchDriver(run, study, scheduler, tracker, num_trials=1, slots=lambda: 1)
    name = driver.next()
    assert name
    trial = Trial("one", config={"trial": name}, stub=True)
    recorder = Recorder(driver, Mirror(run, "off", printed.append), lambda name: "", printed.append)
    recorder.on_trial_start(0, [], trial)
    run.compute.write_text('{"precision": "bfloat16", "why": "measured"}')
    for number in (1, 2):
        recorder.on_trial_result(0, [], trial, epoch(run, name, number))
    said = [line for line in printed if "precision" in line or "compute" in line]
    assert said == [
        f"[{name}] finds out which precision is fastest here, unless an earlier run did",
        "all trials compute in bfloat16, see compute.json and brainseg doctor",
    ]
