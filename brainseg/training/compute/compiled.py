"""torch.compile of a network's calls, in place: its modules, their names and states stay.

What PyTorch compiles is kept for the whole process, up to a few variants of one function, beyond
which it runs uncompiled without a word. So what a trial has compiled is forgotten when it, or the
next trial in the process, compiles a network anew.
"""

import time

import torch
from torch import nn

FAULTS = ("torch._dynamo", "torch._inductor")  # where PyTorch defines what compiling raises
REMEDY = "leave compile at false"


class _Stopwatch:
    """Seconds that PyTorch has compiled in this process."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, 0.0

    def start(self, *_: object) -> None:
        self._since = time.monotonic()

    def stop(self, *_: object) -> None:
        self.seconds += time.monotonic() - self._since


_STOPWATCH = _Stopwatch()


def compile_seconds() -> float:
    """Seconds that PyTorch has compiled in this process so far, backward passes included."""
    return _STOPWATCH.seconds


def compile_calls(network: nn.Module, *, threads: int = 1, backend: str = "inductor") -> None:
    """Compile ``network`` when it is next called, and again wherever the call differs in kind.

    Args:
        threads: that compile side by side; above one, in processes that outlive the call.
    """
    from torch._inductor import config

    config.compile_threads = threads
    forget()
    network.compile(backend=backend)


def forget() -> None:
    """Forget what is compiled: the next call of each compiled network compiles it again."""
    from torch._dynamo import callback

    torch.compiler.reset()  # and forgets who is to be told
    callback.on_compile_start(_STOPWATCH.start)
    callback.on_compile_end(_STOPWATCH.stop)


def require_compiler(device: torch.device) -> None:
    """Refuse to compile where a function of one line cannot be compiled.

    Raises:
        ValueError: says what is missing.
    """
    doubled = torch.compile(lambda tensor: 2 * tensor)
    try:
        doubled(torch.ones(2, device=device))
    except Exception as error:  # each backend raises its own kind
        raise ValueError(
            f"compile=true needs a C++ compiler, and Triton on a GPU; on this machine PyTorch "
            f"cannot compile for {device.type!r} ({_first_line(error)}); install g++, on a GPU "
            f"triton too, or {REMEDY}"
        ) from None


def compile_fault(error: BaseException) -> str:
    """Why PyTorch could not compile a network; "" if the error is of another kind."""
    if not type(error).__module__.startswith(FAULTS):
        return ""
    return f"torch.compile failed on this network ({_first_line(error)}); {REMEDY}"


def _first_line(error: BaseException) -> str:
    """What happened, without which backend raised it and how to get its trace."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("backend=")), type(error).__name__)
