"""The states that a trial can be in; ``TrialDir.state`` says which one its files mean."""

from enum import StrEnum


class TrialState(StrEnum):
    """Where a trial stands, in the words that trials.jsonl holds."""

    QUEUED = "queued"  # proposed, never started
    RUNNING = "running"  # being trained; or it was, when its driver was killed
    PAUSED = "paused"  # waits at a rung until it is resumed or stopped
    DONE = "done"  # trained to its last epoch
    STOPPED = "stopped"  # ended before its last epoch, by the search or the budget
    FAILED = "failed"


ENDED = (TrialState.DONE, TrialState.STOPPED, TrialState.FAILED)
