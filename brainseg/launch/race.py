"""The looks of a race: after each seed of a confirmation, who cannot be the best leaves it.

A configuration of which a trial failed is not compared at that look, and stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from brainseg.analysis.comparison import FEWEST_PATIENTS
from brainseg.analysis.configurations import out_of_fold
from brainseg.analysis.estimate import Trainings
from brainseg.analysis.race import Beaten, beaten, tail
from brainseg.analysis.scores import Scores, gather
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.sweep import Points, Sweep
from brainseg.process import Log
from brainseg.records.queries import (
    by_configuration,
    full_name,
    in_words,
    varied_between_configurations,
)
from brainseg.records.run import Run
from brainseg.search.rounds import Judge


def judge_of(run: Run, sweep: Sweep, log: Log) -> Judge:
    """What notes in race.jsonl, and says, who leaves the race after some seeds."""
    strategy = sweep.strategy
    assert isinstance(strategy, Points)
    # Where seeds were added after looks were spent, those decisions stand, and each look to come
    # takes its part of the error as if the seeds that there are now had been planned: from two to
    # three seeds the error may be 6.25 % instead of 5 %.
    looks = len(strategy.seeds) - 1

    def judge(seeds: tuple[int, ...]) -> None:
        snapshot, after = RunSnapshot.load(run), f"after {_listed(seeds)}"
        scores = _scores(snapshot, seeds, strategy.folds)
        if scores is None:
            log(f"{after} nobody leaves the race: fewer than two configurations are complete")
            return
        patients = scores.fold_SP.shape[1]
        if patients < FEWEST_PATIENTS:
            log(f"{after} nobody leaves the race: {patients} patients are too few to compare on")
            return
        level = tail(len(sweep.first), looks=looks, last=False)
        left = beaten(scores.dice_CSP, Trainings(scores.fold_SP), level)
        if not left:
            log(f"{after} nobody leaves the race: each configuration may still be the best")
            return
        run.note_race([{"seeds": list(seeds), **_line(scores, leaves)} for leaves in left])
        for words in _words(snapshot, scores, left):
            log(f"{words} leaves the race {after}")

    return judge


def _scores(run: RunSnapshot, seeds: Sequence[int], folds: int) -> Scores | None:
    """The scores of the configurations that are in and complete; None of fewer than two."""
    gone = {line["trial"] for line in run.race}
    complete = [
        group
        for group in by_configuration([record for record in run.records if record.params])
        if not gone & {record.trial for record in group}
        and set(seeds) <= out_of_fold(run, group, folds).keys()
    ]
    if len(complete) < 2:
        return None
    compared = {
        record.trial: run.trials[record.trial]
        for group in complete
        for record in group
        if record.params["seed"] in seeds
    }
    return gather(replace(run, trials=compared, race=[]), folds=folds)


def _line(scores: Scores, leaves: Beaten) -> dict[str, object]:
    """What race.jsonl says of it beside the seeds."""
    return {
        "trial": scores.groups[leaves.place][0].trial,
        "by": scores.groups[leaves.by][0].trial,
        "difference": float(leaves.difference),
        "bound": float(leaves.bound),
    }


def _words(run: RunSnapshot, scores: Scores, left: Sequence[Beaten]) -> Iterator[str]:
    """Who leaves, with why it cannot be the best: names as the report gives them."""
    paths = varied_between_configurations([record for record in run.records if record.params])
    names = [
        full_name(group[0].configuration, in_words(group[0].params, paths))
        for group in scores.groups
    ]
    for leaves in left:
        yield (
            f"{names[leaves.place]} (Dice {leaves.difference:+.3f} to {names[leaves.by]}, "
            f"at most {leaves.bound:+.3f})"
        )


def _listed(seeds: Sequence[int]) -> str:
    return f"seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds))}"
