"""Which trials are above their bar, compared with which others, and which paused one resumes."""

from dataclasses import replace

import numpy as np
import pytest

from brainseg.search.halving import Halving, TrialProgress, smoothed_best
from brainseg.search.standings import Standings

HALVING = Halving(grace=4, reduction=3)


def at(name: str, score: float, epoch: int = 4, epochs: int = 36, cycle: int = 0) -> TrialProgress:
    """A trial that waits at ``epoch``; its score was half as high until then."""
    best = (score / 2,) * (epoch - 1) + (score,)
    return TrialProgress(trial=name, epochs=epochs, best=best, cycle=cycle, state="paused")


def reason(progress: TrialProgress, trials: list[TrialProgress]) -> str:
    return Standings(HALVING, trials).reason(progress.trial)


def promotable(trials: list[TrialProgress], halving: Halving = HALVING) -> TrialProgress | None:
    name = Standings(halving, trials).promotable()
    return next((trial for trial in trials if trial.trial == name), None)


def finalist(trials: list[TrialProgress]) -> TrialProgress | None:
    name = Standings(HALVING, trials).finalist()
    return next((trial for trial in trials if trial.trial == name), None)


def test_the_best_third_continues_and_the_best_of_it_first() -> None:
    trials = [at(f"t{i}", score) for i, score in enumerate((0.1, 0.6, 0.3, 0.2, 0.5, 0.4))]
    order = []
    while chosen := promotable(trials):
        order.append(chosen.trial)
        trials = [replace(t, state="running") if t == chosen else t for t in trials]
    assert order == ["t1", "t4"]


def test_fewer_than_the_reduction_are_not_judged() -> None:
    trials = [at("a", 0.5), at("b", 0.6)]
    assert promotable(trials) is None
    assert reason(trials[1], trials) == (
        "paused at epoch 4 of 36: 2 of the 3 comparable trials it needs have reached this epoch"
    )


def test_a_trial_judged_against_few_resumes_once_weaker_ones_have_arrived() -> None:
    trials = [at("a", 0.5), at("b", 0.6), at("c", 0.4)]
    assert reason(trials[0], trials)
    trials += [at(f"later{i}", 0.1) for i in range(3)]
    assert not reason(trials[0], trials)


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_whatever_the_order_of_arrival_hardly_more_than_the_share_continue(
    reduction: int,
) -> None:
    halving = Halving(grace=4, reduction=reduction)
    scores = np.random.default_rng(reduction).permutation(np.linspace(0.1, 0.9, 60))
    trials: list[TrialProgress] = []
    for number, score in enumerate(scores):
        trials.append(at(f"t{number}", float(score)))
        while chosen := promotable(trials, halving):
            trials[trials.index(chosen)] = replace(chosen, state="running")
    went = sum(trial.state == "running" for trial in trials)
    first = sorted(trials, key=lambda trial: -trial.best[-1])[: 60 // reduction]
    assert all(trial.state == "running" for trial in first)
    assert went <= 60 / reduction + 2 * np.sqrt(60)  # Li et al.: excess of the order of a root


def test_of_trials_with_equal_scores_no_more_continue_than_of_others() -> None:
    trials = [at(f"t{i}", 0.5) for i in range(9)]
    assert sum(not reason(trial, trials) for trial in trials) == 3


def test_a_trial_that_ran_further_is_compared_by_its_score_at_that_epoch() -> None:
    ahead = at("ahead", 0.9, epoch=12)  # 0.45 at epoch 4
    trials = [ahead, at("a", 0.5), at("b", 0.1)]
    assert promotable(trials) == trials[1]


def test_trials_paused_before_the_first_end_of_a_longer_cycle_count_with_their_last_score() -> None:
    cyclical = at("cyclical", 0.5, epoch=8, cycle=8)
    waiting = [at("a", 0.4), at("b", 0.3)]
    assert not reason(cyclical, [cyclical, *waiting])
    ahead = at("ahead", 1.2, epoch=9)  # 0.6 at epoch 8
    assert reason(cyclical, [cyclical, waiting[0], ahead])


def test_half_of_a_long_schedule_is_not_compared_with_the_end_of_a_short_one() -> None:
    short = [at(f"s{i}", 0.8, epochs=10) for i in range(3)]
    long = [at(f"l{i}", 0.2 + i / 10, epochs=90) for i in range(3)]
    assert not reason(long[2], [*short, *long])
    assert "of the 3 comparable trials (90 epochs)" in reason(long[0], [*short, *long])


def test_the_reason_says_what_was_compared_with_what() -> None:
    trials = [at(f"t{i}", 0.5 + i / 100, epochs=24 + 2 * i) for i in range(9)]
    assert reason(trials[0], trials) == (
        "paused at epoch 4 of 24: Dice 0.500; the best 1 in 3 of the 7 comparable trials "
        "(24 to 36 epochs) starts at 0.550"
    )


def test_a_failed_trial_is_not_comparable_and_never_promotable() -> None:
    trials = [replace(at(f"f{i}", 0.9), state="failed") for i in range(6)]
    trials += [at(name, score) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    assert promotable(trials) == trials[-1]


def test_the_furthest_trial_resumes_before_the_best_of_a_lower_rung() -> None:
    early = [at(f"e{i}", 0.9 + i / 100) for i in range(3)]
    late = [at(f"l{i}", 0.6 + i / 100, epoch=12) for i in range(3)]
    assert promotable([*early, *late]) == late[2]


def test_a_trial_between_rungs_resumes_before_all_others() -> None:
    cut_off = at("cut off", 0.1, epoch=7)
    trials = [*(at(f"t{i}", 0.5) for i in range(3)), cut_off]
    assert promotable(trials) == cut_off
    assert not reason(cut_off, trials)


def test_a_finalist_is_the_furthest_and_best_whatever_the_bar() -> None:
    trials = [at("a", 0.2), at("b", 0.5, epoch=12), at("c", 0.6, epoch=12)]
    assert promotable(trials) is None
    assert finalist(trials) == trials[2]
    assert finalist([replace(t, state="done") for t in trials]) is None


def test_of_finalists_of_different_lengths_the_better_for_its_length_is_chosen() -> None:
    short = [at(f"s{i}", 0.7 + i / 100, epochs=10) for i in range(2)]
    long = [at(f"l{i}", 0.2 + i / 100, epochs=90) for i in range(4)]
    assert finalist([*short[:1], replace(short[1], state="done"), *long]) == long[3]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_put_in_epoch_by_epoch_stands_as_what_was_put_in_at_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    standings, latest = Standings(HALVING), dict[str, TrialProgress]()
    for _ in range(400):
        name = f"t{rng.integers(1 + len(latest) + (len(latest) < 40))}"
        known = latest.get(name) or at(
            name, 0.1, 0, int(rng.choice([9, 20, 36])), rng.choice([0, 5])
        )
        dice = (*known.best, float(rng.integers(20)) / 20)[: known.epochs]
        state = rng.choice(["running", "paused", "done", "failed"], p=[0.3, 0.5, 0.1, 0.1])
        latest[name] = replace(known, best=smoothed_best(dice), state=str(state))
        standings.put(latest[name])
        at_once = Standings(HALVING, latest.values())
        assert standings.promotable() == at_once.promotable()
        assert standings.finalist() == at_once.finalist()
        assert standings.reason(name) == at_once.reason(name)
