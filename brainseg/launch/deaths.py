"""What a trial's processes died of, by what Ray says of it: whose fault it is, and the figures.

The machine's fault is never charged to a trial. Where Ray's text is the only witness, the parts of
it that are looked for were read off real deaths (Ray 2.60), see tests/launch/test_deaths.py.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ray.air.constants import EXPR_ERROR_FILE

from brainseg.cluster.reachability import last_line
from brainseg.records.storage import NO_ROOM, UNNAMED, words_of

COUNTERS = (  # where the kernel counts the processes that it killed: the first that exists
    Path("/sys/fs/cgroup/memory.events"),  # of this container
    Path("/proc/vmstat"),
)


class Cause(StrEnum):
    """Of a death, in the order in which they are looked for."""

    STORAGE = "storage"  # a folder failed
    MEMORY = "memory"  # of the host
    NODE = "node"  # the machine is lost
    KILLED = "killed"  # by a signal, or it crashed
    CODE = "code"  # an exception that nobody caught


# What the system says of a storage, and of nothing else: Ray too writes to disks.
STORAGE_WORDS = words_of(NO_ROOM | UNNAMED)
SIGNS = {  # what Ray's text of such a death holds
    Cause.STORAGE: "|".join((r"\bStorageFault\b", "OutOfDiskError", *sorted(STORAGE_WORDS))),
    Cause.MEMORY: r"node running low on memory|\bMemoryError\b|can't allocate memory",
    Cause.NODE: r"node has died|node was (terminated|drained|preempted)|marked dead|NodeDiedError",
    Cause.KILLED: r"worker process has died|[Ww]orker unexpectedly exits|[Ww]orker died"
    r"|worker .* crashed|WorkerCrashedError",
}
INFEASIBLE_RAM = "infeasible: RAM"  # begins the reason of a trial that failed of its host's memory
USED = re.compile(r"\(IP: ([^,)\s]+).*?was ([\d.]+)GB used / ([\d.]+)GB")
SHARE = re.compile(r"actual memory used=([\d.]+)GB")
PLACE = re.compile(r"pid: (\d+).*?ip: (\S+)", re.DOTALL)
FAULT = re.compile(r"StorageFault: (.+)")


@dataclass(frozen=True)
class Death:
    """What a trial's processes died of."""

    cause: Cause
    words: str  # a clause, such as "its process was killed (pid 7 on 10.0.0.2)"


def death_of(trial: Any, kills: "KernelKills") -> Death:
    """What a trial of Tune died of just now."""
    return classified(_error_of(trial), by_kernel=kills.rose())


def classified(text: str, *, by_kernel: bool = False) -> Death:
    """The death that ``text``, the error as Ray tells it, speaks of.

    Args:
        by_kernel: the kernel of this machine killed a process for want of memory meanwhile.
    """
    cause = next((cause for cause, sign in SIGNS.items() if re.search(sign, text)), Cause.CODE)
    if cause == Cause.STORAGE:
        fault = FAULT.search(text)
        last = f"a disk failed ({last_line(Exception(text))}); make room, or mount it again, then "
        again = "run the same command to resume"
        return Death(cause, fault[1].strip() if fault else last + again)
    if cause == Cause.MEMORY:
        return Death(cause, f"its host ran out of memory (RAM){_figures(text)}")
    place = PLACE.search(text)
    if cause == Cause.NODE:
        return Death(cause, f"its machine was lost ({place[2]})" if place else "a machine was lost")
    if cause == Cause.KILLED:
        where = f"pid {place[1]} on {place[2]}" if place else "one of its workers"
        if by_kernel:
            return Death(
                Cause.MEMORY,
                f"its host ran out of memory (RAM): the kernel killed its process ({where})",
            )
        return Death(cause, f"its process was killed, or crashed ({where})")
    return Death(cause, last_line(Exception(text)) if text else "Ray gave no reason")


def _figures(text: str) -> str:
    used, share = USED.search(text), SHARE.search(text)
    if not used:
        return f": {last_line(Exception(text))}"
    host, gigabytes, total = used.groups()
    of_it = f", {share[1]} GB of it by the trial's process" if share else ""
    return f": {gigabytes} of {total} GB were used on {host}{of_it}"


def _error_of(trial: Any) -> str:
    """The last error of a trial of Tune, from where Tune writes it first: on this machine."""
    path = Path(trial.local_path or ".", EXPR_ERROR_FILE)
    try:
        written = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return re.split(r"^Failure # \d+ \(occurred at .*\)\n", written, flags=re.MULTILINE)[-1]


class KernelKills:
    """The processes of this machine that its kernel killed for want of memory."""

    def __init__(self) -> None:
        self._count = _kernel_kills()

    def rose(self) -> bool:
        """Whether there are more of them than at the last call."""
        before, self._count = self._count, _kernel_kills()
        return self._count > before


def _kernel_kills() -> int:
    counter = next((path for path in COUNTERS if path.exists()), None)
    count = re.search(r"^oom_kill (\d+)$", counter.read_text(), re.MULTILINE) if counter else None
    return int(count[1]) if count else 0
