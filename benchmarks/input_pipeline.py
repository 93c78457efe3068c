"""How fast do augmented slices reach the network, against the usual way of reading them?

Run    python -m benchmarks.input_pipeline [--quick] [--data FOLDER]
Gives  slices a second of a plain Dataset (A) and of ours, and the ratios of the two, on one core
       and on all (8 at most); what a second start takes, and an epoch's first batch; the memory of
       several processes. A and ours take turns. Two minutes, quick half a minute.

(A) reads image and mask with cv2, applies Affine and a flip of albumentations, returns float
tensors (Normalize, ToTensorV2); it is leaner if it returns bytes and the network scales them. Ours
reads a pack, moves image and mask by one warp and leaves scaling to the network. Without --data it
makes four patients up; any data are copied until there are as many slices as the LGG data set has.

Ratios by CPU time (all processes) depend less on what else the machine does; limits are held
against the wall clock's medians, on idle cores.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import NamedTuple

import albumentations
import cv2
import numpy as np
import pandas as pd
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.claims import Claim, ratios
from brainseg.config.hyperparameters import Augmentation
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import Pack, open_pack
from brainseg.data.phantom import write_phantoms
from brainseg.data.pipeline.augment import Augment
from brainseg.data.pipeline.batches import training_batches

SLICES, QUICK_SLICES, SIDE = 3929, 1600, 256
BATCH, BATCHES = 16, 100
ROUNDS, QUICK_ROUNDS = 7, 3
CORES = min(8, len(os.sched_getaffinity(0)))
HOLDERS = 4  # processes that map one pack
POLICY = Augmentation()
GEOMETRY = {k: v for k, v in asdict(POLICY).items() if k != "missing"}
FILES, BYTES = "of files", "of files, bytes out"


class Plain(Dataset[tuple[Tensor, Tensor]]):
    """(A): one slice at a time from its files."""

    def __init__(self, root: Path, table: pd.DataFrame, *, as_float: bool = True) -> None:
        places = zip(table["image"], table["mask"], strict=True)
        self.paths = [(str(root / image), str(root / mask)) for image, mask in places]
        self.as_float = as_float
        self.policy = albumentations.Compose(
            [
                albumentations.Affine(
                    rotate=(-POLICY.rotate_degrees, POLICY.rotate_degrees),
                    translate_percent=(-POLICY.shift, POLICY.shift),
                    scale=(1 - POLICY.zoom, 1 + POLICY.zoom),
                    p=1.0,
                ),
                albumentations.HorizontalFlip(p=POLICY.hflip),
                *([albumentations.Normalize()] if as_float else []),
                ToTensorV2(),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.paths[index]
        bgr_HWC, mask_HW = cv2.imread(image), cv2.imread(mask, cv2.IMREAD_GRAYSCALE)
        moved = self.policy(image=cv2.cvtColor(bgr_HWC, cv2.COLOR_BGR2RGB), mask=mask_HW)
        tumour_HW = moved["mask"] > 127
        return moved["image"], tumour_HW.float() if self.as_float else tumour_HW


def ours(pack: Pack, batches: int, epoch: int, *, threads: int) -> int:
    """The first batches of an epoch; returns how many slices came."""
    rows, augment = np.arange(len(pack.slices_NHWD)), Augment(**GEOMETRY)
    with closing(
        training_batches(
            pack, rows, augment, batch_size=BATCH, seed=0, epoch=epoch, threads=threads
        )
    ) as prepared:
        return sum(len(batch.rows) for batch in islice(prepared, batches))


class Speed(NamedTuple):
    """Slices a second."""

    wall: float
    cpu: float  # a second of CPU time, in this process and its children


def speed(work: Callable[[], int]) -> Speed:
    """Of work that says how many slices it did."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    done = work()
    return Speed(done / (time.perf_counter() - wall), done / (cpu_seconds() - cpu))


def cpu_seconds() -> float:
    ticks = 0
    for child in multiprocessing.active_children():
        after_name = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def on_one_core(root: Path, table: pd.DataFrame, pack: Pack, rounds: int) -> list[Claim]:
    order = iter(np.random.default_rng(0).integers(0, len(table), 10**6).tolist())

    def read(dataset: Plain, count: int) -> int:
        return sum(1 for index in islice(order, count) if dataset[index])

    kinds = (FILES, BYTES)
    datasets = {f"a Dataset {k}": Plain(root, table, as_float=k == FILES) for k in kinds}
    theirs: dict[str, list[Speed]] = {name: [] for name in datasets}
    mine = []
    with one_core():
        for dataset in datasets.values():
            read(dataset, 20)
        for epoch in range(rounds):
            for name, dataset in datasets.items():
                theirs[name].append(speed(partial(read, dataset, 150)))
            mine.append(speed(partial(ours, pack, BATCHES, epoch, threads=1)))
    return compared("augmented slices, one core", mine, theirs, limit=6)


def on_all_cores(root: Path, table: pd.DataFrame, pack: Pack, rounds: int) -> list[Claim]:
    loaders = {
        f"a DataLoader {kind}, {CORES} workers": iter(
            DataLoader(
                Plain(root, table, as_float=kind == FILES),
                batch_size=BATCH,
                sampler=np.random.default_rng(0).integers(0, len(table), 10**6).tolist(),
                num_workers=CORES,
                worker_init_fn=lambda _: cv2.setNumThreads(1),
            )
        )
        for kind in (FILES, BYTES)
    }

    def load(batches: Iterator[tuple[Tensor, Tensor]], count: int) -> int:
        return sum(len(mask) for _, mask in islice(batches, count))

    theirs: dict[str, list[Speed]] = {name: [] for name in loaders}
    mine = []
    for epoch in range(rounds):
        for name, batches in loaders.items():
            load(batches, 3 * CORES)  # what the workers prepared while others ran
            theirs[name].append(speed(partial(load, batches, 10 * CORES)))
        time.sleep(0.2)  # until they have prepared what they may
        mine.append(speed(partial(ours, pack, BATCHES, epoch, threads=CORES)))
    return compared(f"augmented batches, {CORES} cores", mine, theirs, limit=10)


def compared(
    what: str, mine: list[Speed], theirs: dict[str, list[Speed]], *, limit: float
) -> list[Claim]:
    """Rounds in which each ran after the other; the limit is for the first of theirs."""
    found = [Claim(what=what, values=[s.wall for s in mine], unit="slices/s")]
    limits = (limit, *[None] * len(theirs))
    for (name, speeds), most in zip(theirs.items(), limits, strict=False):
        walls = ratios([s.wall for s in mine], [s.wall for s in speeds])
        cpus = ratios([s.cpu for s in mine], [s.cpu for s in speeds])
        found.append(Claim(what=what, values=walls, baseline=name, limit=most))
        found.append(Claim(what=f"{what}, by CPU time", values=cpus, baseline=name))
    return found


def a_start(root: Path, table: pd.DataFrame, cache: Path, rounds: int) -> list[Claim]:
    """What a trial waits for before its first step, and each of its epochs."""

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    recorded = fingerprint(table, root)
    opened = partial(open_pack, table, root, image_size=SIDE, recorded=recorded, cache=cache)
    once = seconds(opened)
    again = [seconds(opened) for _ in range(rounds)]
    pack = opened()
    first = [seconds(partial(ours, pack, 1, epoch, threads=CORES)) for epoch in range(20)]
    return [
        at_most(60, "packing all slices", [once], unit="s"),
        at_most(0.5, "checking and mapping a pack that is there", again, unit="s"),
        at_most(0.02, f"an epoch's first batch of {BATCH}, {CORES} cores", first, unit="s"),
    ]


def at_most(limit: float, what: str, values: list[float], *, unit: str) -> Claim:
    return Claim(what=what, values=values, unit=unit, limit=limit, better="lower")


def hold(
    root: Path, table: pd.DataFrame, cache: Path, recorded: str, all_in: Barrier, done: Event
) -> None:
    """Map the pack, touch every page of it, and stay until all have been weighed."""
    pack = open_pack(table, root, image_size=SIDE, recorded=recorded, cache=cache)
    np.asarray(pack.slices_NHWD).reshape(-1)[::4096].sum()
    all_in.wait()
    done.wait()


def weight(root: Path, table: pd.DataFrame, cache: Path) -> Claim:
    fork = multiprocessing.get_context("fork")
    all_in, done = fork.Barrier(HOLDERS + 1), fork.Event()
    arguments = (root, table, cache, fingerprint(table, root), all_in, done)
    holders = [fork.Process(target=hold, args=arguments) for _ in range(HOLDERS)]
    for holder in holders:
        holder.start()
    all_in.wait()
    shares = sum(proportional_bytes(holder.pid or 0, cache) for holder in holders)
    done.set()
    for holder in holders:
        holder.join()
    copy_bytes = sum(file.stat().st_size for file in cache.rglob("slices.npy"))
    what = f"memory of a pack that {HOLDERS} processes map, over one copy of it"
    return at_most(1.2, what, [shares / copy_bytes], unit="x")


def proportional_bytes(process: int, folder: Path) -> int:
    """PSS of what a process has mapped of the slices under ``folder``."""
    smaps = Path(f"/proc/{process}/smaps").read_text()
    mapped = re.findall(
        rf"{re.escape(str(folder))}\S*/slices\.npy\n(?:\w+:.*\n)*?Pss: +(\d+) kB", smaps
    )
    return sum(map(int, mapped)) * 1024


@contextmanager
def one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def copied(source: Path, target: Path, slices: int) -> Path:
    """A folder of exactly that many slices: the patients of source, over and over."""
    table = find_slices(source)
    for number in range(slices):
        row = table.iloc[number % len(table)]
        folder = target / f"{number // len(table):03d}_{row['patient']}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, end in ((row["image"], ""), (row["mask"], "_mask")):
            file = folder / f"{folder.name}_{row['slice']}{end}{Path(name).suffix}"
            shutil.copyfile(source / name, file)
    return target


def claims(quick: bool, data: Path | None = None) -> list[Claim]:
    """Measured on slices of ``data``; None: made up."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="brainseg-benchmark-") as name:
        folder = Path(name)
        if data is None:
            data = write_phantoms(folder / "phantoms", patients=4, slices=30, size=SIDE)
        root = copied(data, folder / "slices", QUICK_SLICES if quick else SLICES)
        table, cache = find_slices(root), folder / "cache"
        once = [*a_start(root, table, cache, rounds), weight(root, table, cache)]
        pack = open_pack(table, root, image_size=SIDE, cache=cache)
        turns = [on_one_core(root, table, pack, rounds), on_all_cores(root, table, pack, rounds)]
        return [*turns[0], *turns[1], *once]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help="a folder of slices; default: made-up patients")
    args = parser.parse_args()
    for claim in claims(args.quick, args.data):
        print(claim)


if __name__ == "__main__":
    main()
