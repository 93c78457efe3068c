"""What Tune gets of the search: a trial's name, none yet, or that none will follow."""

from pathlib import Path

from brainseg.launch.tune_adapter import SweepSearcher
from brainseg.records.run import Run
from tests.support.search_driver import Driver


def test_tune_gets_trial_names_until_the_search_has_ended(tmp_path: Path) -> None:
    driver = Driver(Run(tmp_path))
    searcher = SweepSearcher(driver.search)
    assert searcher.suggest("tune-0") == {"trial": "0000"}
    driver.train("0000")
    searcher.on_trial_complete("tune-0")
    driver.drive()
    assert driver.search.ended and searcher.suggest("tune-1") == SweepSearcher.FINISHED


def test_no_more_trials_are_begun_than_there_is_room_for_as_machines_come_and_go(
    tmp_path: Path,
) -> None:
    driver = Driver(Run(tmp_path), slots=2)
    searcher = SweepSearcher(driver.search)
    begun = [searcher.suggest(f"tune-{i}") for i in range(3)]
    assert begun[0] and begun[1] and begun[2] is None
    searcher.on_trial_complete("tune-0")
    assert searcher.suggest("tune-3"), "the place of one that returned is free"
    driver.slots = 3
    assert searcher.suggest("tune-4"), "a machine joined"
    driver.slots = 0
    searcher.on_trial_complete("tune-1")
    assert searcher.suggest("tune-5") is None, "all have gone"
