"""What decides the last bits of a trial's numbers: then, and here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from brainseg.inference.reproduce.record import Record
from brainseg.records.trial_folder import TrialDir
from brainseg.training.compute.fingerprint import OWN_CODE, kind_of_machine, versions
from brainseg.training.guards.memory import parts_of

WORDS = {  # of what ``kind_of_machine`` says, what a person knows by another name
    "name": "processor",
    "flags": "what the processor can do",
    "libraries": "how torch was built",
    "model": "the processor's model",
    "stepping": "the processor's stepping",
    OWN_CODE: "the code of brainseg",
}
OPAQUE = ("flags", "libraries", OWN_CODE)  # digests, which say nothing to a person
OURS = ("version", "threads")  # of a machine's kind: ours, and told apart
ON_GPU = "a GPU adds in no fixed order"
NOT_RECORDED = "the version that trained it did not record the processor"
NO_CODE = "the version that trained it did not record its own code"


@dataclass(frozen=True)
class Facts:
    """How the surroundings of a trial differ.

    Attributes:
        differing: what differs, each in words.
        unknown: why the last bits cannot be promised though nothing is known to differ.
        smaller_parts: whether memory was short here, and not there.
    """

    differing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    smaller_parts: bool = False

    @property
    def are_same(self) -> bool:
        """Whether the same numbers must come out, to the bit."""
        return not self.differing and not self.unknown


def facts(record: Record, copy: TrialDir, device: torch.device, threads: int | None) -> Facts:
    """Compare then and here.

    Args:
        threads: that a person chose; None for as many as were recorded.
    """
    machines = [machine for start in record.starts for machine in start.get("machines", ())]
    code = [start.get("versions", {}) for start in record.starts]
    here = {name: v for name, v in kind_of_machine(device).items() if name not in OURS}
    unknown = [NOT_RECORDED] * (not machines)
    unknown += [NO_CODE] * any(OWN_CODE not in known for known in code)
    unknown += [ON_GPU] * (device.type == "cuda")
    differing = []
    if machines:
        differing += _differing(machines, here)
        differing += _differing([{OWN_CODE: versions()[OWN_CODE], **v} for v in code], versions())
    else:
        known = record.run.settings().get("versions", {})
        names = [name for name in versions() if name in known]
        differing += _differing([known], {name: versions()[name] for name in names})
        on = "cuda" if record.is_of_gpu else "cpu"
        differing += [f"the device, {on} then, {device.type} here"] * (on != device.type)
    counts = sorted({stage.setup.threads for stage in record.stages()})
    if threads is not None and counts != [threads]:
        differing.append(f"threads, {', '.join(map(str, counts))} then, {threads} here")
    if any(stage.setup.compute is None for stage in record.stages()):
        unknown.append("the version that trained it did not record how it computed")
    if shorter := _has_smaller_parts(record, copy):
        differing.append(f"memory was short here: batches in {parts_of(copy)} parts")
    return Facts(tuple(dict.fromkeys(differing)), tuple(unknown), smaller_parts=shorter)


def _has_smaller_parts(record: Record, copy: TrialDir) -> bool:
    """Whether some batches went through the network in more parts here than they did then."""
    pairs = zip(record.rows, copy.rows(), strict=False)
    sizes = [(then.micro_batch or inf, now.micro_batch or inf) for then, now in pairs]
    return parts_of(copy) > record.stages()[-1].setup.parts or any(a > b for a, b in sizes)


def _differing(then: Sequence[Mapping[str, Any]], here: Mapping[str, str]) -> list[str]:
    """Each value of ``here`` that was another, or one of several, in words."""
    phrases = []
    names = dict.fromkeys(name for known in (here, *then) for name in known if name not in OURS)
    for name in names:
        now, values = here.get(name, "none"), [str(known.get(name, "none")) for known in then]
        if others := sorted({value for value in values if value != now}):
            both = f", {', '.join(others)} then, {now} here"
            phrases.append(WORDS.get(name, name) + both * (name not in OPAQUE))
    return phrases
