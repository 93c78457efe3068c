"""How fast do augmented slices reach the network, against the usual way of reading them?

Run    python benchmarks/input_pipeline.py [--data FOLDER]
Gives  each figure of a plain Dataset (A) and of ours as median (lowest to highest), the ratios of
       the two, and whether the goal is met. A and ours take turns, so that whatever else keeps the
       machine busy slows both. Two to three minutes on two cores.

(A) reads image and mask with cv2, applies Affine and a flip of albumentations, returns float
tensors (Normalize, ToTensorV2). Ours reads a pack, moves image and mask by one warp and leaves
scaling to the network. Without --data it makes four patients up; any data are copied until there
are 3929 slices, as many as the LGG data set has.

Ratios by CPU time (all processes) depend less on what else the machine does; goals are held against
the wall clock's medians.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from statistics import median
from typing import NamedTuple

import albumentations
import cv2
import numpy as np
import pandas as pd
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from brainseg.config.hyperparameters import Augmentation
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import Pack, open_pack
from brainseg.data.phantom import write_phantoms
from brainseg.data.pipeline.augment import Augment
from brainseg.data.pipeline.batches import training_batches

SLICES, SIDE, BATCH, REPEATS = 3929, 256, 16, 7
POLICY = Augmentation()
GEOMETRY = {k: v for k, v in asdict(POLICY).items() if k != "missing"}


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


def ours(pack: Pack, count: int, epoch: int, *, threads: int) -> int:
    """An epoch over the first count slices; returns how many came."""
    return sum(
        len(batch.rows)
        for batch in training_batches(
            pack,
            np.arange(count),
            Augment(**GEOMETRY),
            batch_size=BATCH,
            seed=0,
            epoch=epoch,
            threads=threads,
        )
    )


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


def on_one_core(root: Path, table: pd.DataFrame, pack: Pack) -> None:
    floats, bytes_ = Plain(root, table), Plain(root, table, as_float=False)
    order = iter(np.random.default_rng(0).integers(0, len(table), 10**6).tolist())

    def read(dataset: Plain, count: int) -> int:
        return sum(1 for index in islice(order, count) if dataset[index])

    theirs, leaner, mine = [], [], []
    with one_core():
        read(floats, 20)
        for epoch in range(REPEATS):
            theirs.append(speed(lambda: read(floats, 150)))
            leaner.append(speed(lambda: read(bytes_, 150)))
            mine.append(speed(lambda epoch=epoch: ours(pack, 1600, epoch, threads=1)))
    print("augmented slices a second, one core")
    show("A, plain Dataset", [s.wall for s in theirs])
    show("A with bytes out, nothing scaled", [s.wall for s in leaner])
    show("ours", [s.wall for s in mine])
    compare("ours / A", mine, theirs, goal=6)
    compare("ours / A with bytes out", mine, leaner)


def on_two_cores(root: Path, table: pd.DataFrame, pack: Pack) -> None:
    loader = DataLoader(
        Plain(root, table),
        batch_size=BATCH,
        sampler=np.random.default_rng(0).integers(0, len(table), 10**6).tolist(),
        num_workers=2,
        worker_init_fn=lambda _: cv2.setNumThreads(1),
    )
    batches = iter(loader)

    def load(count: int) -> int:
        return sum(len(mask) for _, mask in islice(batches, count))

    theirs, mine = [], []
    for epoch in range(REPEATS):
        load(6)  # what the workers prepared while ours ran
        theirs.append(speed(lambda: load(20)))
        mine.append(speed(lambda epoch=epoch: ours(pack, 3200, epoch, threads=2)))
    print("batches on two cores, slices a second")
    show("DataLoader of A, 2 workers", [s.wall for s in theirs])
    show("ours, 2 threads", [s.wall for s in mine])
    compare("ours / DataLoader", mine, theirs, goal=10)


def second_start(root: Path, table: pd.DataFrame, cache: Path) -> None:
    def milliseconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e3

    recorded = fingerprint(table, root)
    opened = [
        milliseconds(
            lambda: open_pack(table, root, image_size=SIDE, recorded=recorded, cache=cache)
        )
        for _ in range(REPEATS)
    ]
    looked = [milliseconds(lambda: fingerprint(table, root)) for _ in range(REPEATS)]
    pack = open_pack(table, root, image_size=SIDE, recorded=recorded, cache=cache)
    epoch = milliseconds(lambda: ours(pack, SLICES, 0, threads=2))
    print("a second start, milliseconds")
    show("checked and mapped, by each trial", opened, goal=500)
    show("its share of an epoch's batches", [ms / epoch for ms in opened])
    show("every file looked at, once a run", looked)


def hold(
    root: Path, table: pd.DataFrame, cache: Path, recorded: str, all_in: Barrier, done: Event
) -> None:
    """Map the pack, touch every page of it, and stay until all have been weighed."""
    pack = open_pack(table, root, image_size=SIDE, recorded=recorded, cache=cache)
    np.asarray(pack.slices_NHWD).reshape(-1)[::4096].sum()
    all_in.wait()
    done.wait()


def weigh(root: Path, table: pd.DataFrame, cache: Path) -> None:
    fork = multiprocessing.get_context("fork")
    all_in, done = fork.Barrier(5), fork.Event()
    arguments = (root, table, cache, fingerprint(table, root), all_in, done)
    holders = [fork.Process(target=hold, args=arguments) for _ in range(4)]
    for holder in holders:
        holder.start()
    all_in.wait()
    shares = sum(proportional_bytes(holder.pid or 0, cache) for holder in holders)
    done.set()
    for holder in holders:
        holder.join()
    copy_bytes = sum(file.stat().st_size for file in cache.rglob("slices.npy"))
    print("memory of the pack in 4 processes, all pages touched")
    print(f"  summed PSS {shares / 1e6:.0f} MB, one copy {copy_bytes / 1e6:.0f} MB")
    show("summed PSS / one copy", [shares / copy_bytes], goal=1.2)


def proportional_bytes(process: int, folder: Path) -> int:
    """PSS of what a process has mapped of the slices under ``folder``."""
    smaps = Path(f"/proc/{process}/smaps").read_text()
    mapped = re.findall(
        rf"{re.escape(str(folder))}\S*/slices\.npy\n(?:\w+:.*\n)*?Pss: +(\d+) kB", smaps
    )
    return sum(map(int, mapped)) * 1024


def show(name: str, values: list[float], *, goal: float | None = None) -> None:
    line = f"  {name:34s} {median(values):9.2f}"
    if len(values) > 1:
        line += f"  ({min(values):.2f} to {max(values):.2f})"
    if goal is not None:
        line += f"  goal < {goal:g}: {'met' if median(values) < goal else 'MISSED'}"
    print(line)


def compare(
    name: str, mine: list[Speed], theirs: list[Speed], *, goal: float | None = None
) -> None:
    """Pairs that ran one after the other; the goal is held against the wall clock."""
    walls = [a.wall / b.wall for a, b in zip(mine, theirs, strict=True)]
    cpus = [a.cpu / b.cpu for a, b in zip(mine, theirs, strict=True)]
    line = f"  {name:34s} {median(walls):8.1f}x  ({min(walls):.1f} to {max(walls):.1f})"
    if goal is not None:
        line += f"  goal >= {goal:g}x: {'met' if median(walls) >= goal else 'MISSED'}"
    print(line)
    print(f"  {'  by CPU time':34s} {median(cpus):8.1f}x  ({min(cpus):.1f} to {max(cpus):.1f})")


@contextmanager
def one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def copied(source: Path, target: Path) -> Path:
    """A folder of exactly SLICES slices: the patients of source, over and over."""
    table = find_slices(source)
    for number in range(SLICES):
        row = table.iloc[number % len(table)]
        folder = target / f"{number // len(table):03d}_{row['patient']}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, end in ((row["image"], ""), (row["mask"], "_mask")):
            file = folder / f"{folder.name}_{row['slice']}{end}{Path(name).suffix}"
            shutil.copyfile(source / name, file)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of slices; default: made-up patients")
    data = parser.parse_args().data
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="brainseg-benchmark-") as name:
        folder = Path(name)
        if data is None:
            data = write_phantoms(folder / "phantoms", patients=4, slices=30, size=SIDE)
        root = copied(data, folder / "slices")
        table = find_slices(root)
        measure(root, table, folder / "cache")


def measure(root: Path, table: pd.DataFrame, cache: Path) -> None:
    start = time.perf_counter()
    open_pack(table, root, image_size=SIDE, cache=cache)
    print(f"packing {len(table)} slices of {SIDE} pixels, seconds")
    show("once", [time.perf_counter() - start], goal=60)
    second_start(root, table, cache)
    weigh(root, table, cache)
    pack = open_pack(table, root, image_size=SIDE, cache=cache)
    on_one_core(root, table, pack)
    on_two_cores(root, table, pack)


if __name__ == "__main__":
    main()
