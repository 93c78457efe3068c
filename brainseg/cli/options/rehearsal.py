"""`--smoke` and made-up patients: a sweep made small, to see whether it runs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainseg.cli.options.sweep import SweepOptions
from brainseg.config.distributions import Params, Value

FEW_TRIALS = 8  # of a rehearsal and of a smoke test, at most
GRACE_EPOCHS = 2
WRITTEN = 1_700_000_000  # time of made-up files: a run on them may resume on ones written again
CHANNELS = 4  # of a made-up slice: three, and its mask


@dataclass(frozen=True, kw_only=True)
class Small:
    """A way to make a sweep small."""

    fixed: Params  # in every point
    more: tuple[Params, ...] = ()  # tried after the sweep's points where it searches encoders
    draws: bool  # whether points are drawn after those that are listed

    def shrink(self, points: tuple[Mapping[str, Value], ...]) -> list[Params]:
        """``points`` without what is fixed."""
        return [{p: value for p, value in point.items() if p not in self.fixed} for point in points]

    def trials(self, points: int) -> int:
        """How many trials there are at most."""
        return FEW_TRIALS if self.draws else min(FEW_TRIALS, max(points, 1))


# Without --data a sweep is a rehearsal on made-up patients, small enough for two cores.
REHEARSAL = Small(
    fixed={"image_size": 64, "epochs": 6, "batch_size": 8, "model.plain.width": 16},
    more=tuple(  # small encoders, all of them trained
        {"model": "encoder", "model.encoder.name": name, "model.encoder.freeze": "nothing"}
        for name in ("resnet18", "mobilenet_v2", "efficientnet-b0")
    ),
    draws=True,
)
# With --smoke it only shows that it runs, from its first configuration to its report.
SMOKE = Small(
    fixed={"image_size": 64, "epochs": 2, "batch_size": 4, "model.plain.width": 4}, draws=False
)


def small_for(options: SweepOptions) -> Small | None:
    """How small the sweep is made; None where it trains on real data."""
    if options.smoke:
        return SMOKE
    return REHEARSAL if options.data is None else None


def made_up_patients(folder: Path, *, smoke: bool) -> Path:
    """Phantoms below ``folder``, written at the first call, or again where they are damaged."""
    from brainseg.data.checksums import ensure_whole
    from brainseg.data.phantom import write_phantoms

    print("no --data: this is a rehearsal on made-up patients; it says nothing about real ones")
    name, patients, slices, size = ("few", 8, 5, 64) if smoke else ("phantoms", 24, 16, 128)

    def fill(draft: Path) -> None:
        write_phantoms(draft, patients=patients, slices=slices, size=size, seed=0)
        for file in draft.rglob("*"):
            os.utime(file, (WRITTEN, WRITTEN))

    ensure_whole(
        folder / name, fill, num_bytes=patients * slices * size * size * CHANNELS, log=print
    )
    return folder / name
