"""What is known of how fast this machine computes; what is not known yet is measured."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from brainseg.config.hyperparameters import TrialConfig
from brainseg.records.cache import save_checked
from brainseg.records.locks import locked
from brainseg.training.compute.families import family, family_key
from brainseg.training.compute.figures import SECTIONS, folder_of_figures, name_of, read_figures
from brainseg.training.compute.fingerprint import digest_of, kind_of_machine
from brainseg.training.compute.forwards import measure_forwards
from brainseg.training.compute.measure import Measured, measure_steps, measure_updates


class Answers:
    """Figures of one kind of machine; what is missing is measured, by one process of a node."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.kind = device, kind_of_machine(device)
        self.folder = folder_of_figures()
        self.path = self.folder / f"{digest_of(self.kind)}.json"
        self.failed: dict[str, str] = {}  # of what this process has measured
        self.shortage = False  # of memory, in any of it

    @property
    def name(self) -> str:
        return name_of(self.kind)

    def steps(self, config: TrialConfig) -> dict[str, float]:
        """Seconds of a step in each of the candidates that could be measured."""
        key = family_key(config)
        return self._known_or("steps", key, lambda: measure_steps(config, self.device))

    def updates(self, config: TrialConfig) -> dict[str, float]:
        """Seconds of an optimizer's update, by implementation."""
        key = f"{family(config.model)}, {type(config.optimizer).__name__}"
        return self._known_or("updates", key, lambda: measure_updates(config, self.device))

    def forwards(self, config: TrialConfig) -> dict[str, float]:
        """Seconds of a batch without gradients in each of the candidates, as of ``steps``."""
        key = family_key(config)
        return self._known_or("forwards", key, lambda: measure_forwards(config, self.device))

    def _known_or(
        self, section: str, key: str, measure: Callable[[], Measured]
    ) -> dict[str, float]:
        """The figures that are known, or else are measured now and kept.

        Without memory for it they are not kept; without a cache to write to neither, and the pack
        of the data, which needs one too, will say so.
        """
        if key in (known := self._read().get(section, {})):
            return dict(known[key])
        with self._alone():
            content = self._read()
            if key in content.setdefault(section, {}):
                return dict(content[section][key])
            measured = measure()
            self.failed |= {f"{key}, {name}": why for name, why in measured.failed.items()}
            self.shortage |= measured.shortage
            if measured.seconds and not measured.shortage:
                content[section][key] = measured.seconds
                content["failed"] |= self.failed
                self._write(content)
            return measured.seconds

    def _read(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {name: {} for name in SECTIONS}
        return read_figures(self.path) or nothing | {"kind": self.kind}

    def _write(self, content: Mapping[str, Any]) -> None:
        with suppress(OSError):
            save_checked(self.path, json.dumps(content, indent=1).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process of the node measures at a time: beside another its figures would be off."""
        with ExitStack() as stack:
            with suppress(OSError):  # a cache without locks, or none to write to
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / "lock"))
            yield
