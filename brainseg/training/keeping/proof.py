"""Proof that what a trial froze did not move, from before its first step to its end."""

import json

from brainseg.models.freezing import changed
from brainseg.training.distributed import Ranks
from brainseg.training.keeping.carried import CarriedFiles
from brainseg.training.learner import Learner
from brainseg.training.task import TrialFailed


class FrozenProof:
    """What the tensors were that could be frozen, and a stage for each time they were compared."""

    def __init__(self, files: CarriedFiles, learner: Learner, ranks: Ranks) -> None:
        self.files, self.learner, self.ranks = files, learner, ranks
        self.folder = files.folder

    def is_there(self) -> bool:
        """Whether it is known what the frozen tensors were before the first step."""
        try:
            return isinstance(self.files.json(self.folder.frozen, None), dict)
        except ValueError:
            return False

    def start(self) -> None:
        """Write down what they are now."""
        fingerprints = self.learner.network.fingerprints(at_start=True)
        self.files.write(self.folder.frozen, json.dumps(fingerprints, indent=1) + "\n")

    def audit(self, epoch: int) -> None:
        """Compare what is frozen now with what it was before the first step, and note it.

        Raises:
            TrialFailed: a frozen tensor changed, which only a fault in brainseg can cause.
        """
        if not self.learner.network.blocks:
            return
        moved: list[str] = []
        if self.ranks.rank == 0:
            now = self.learner.network.fingerprints()
            moved = changed(self.files.json(self.folder.frozen, {}), now)
            stage = {"epoch": epoch, "blocks": self.learner.frozen}
            stages = self.files.json(self.folder.audit_path, [])
            earlier = [stage for stage in stages if stage["epoch"] < epoch]
            self.folder.write_audit([*earlier, {**stage, "tensors": len(now), "changed": moved}])
            self.files.carry(self.folder.audit_path)
        if moved := self.ranks.broadcast(moved):
            raise TrialFailed(
                f"{len(moved)} frozen tensors changed, the first is {moved[0]!r}: a fault in "
                "brainseg; please report it with this trial's config.json"
            )
