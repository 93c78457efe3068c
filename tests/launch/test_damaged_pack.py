"""A pack that is damaged between two commands costs a line and no score."""

import os
from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.records.cache import default_cache
from brainseg.records.run import Run
from tests.support.sweeps import brainseg


@pytest.mark.ray
def test_a_trial_on_a_damaged_pack_says_so_and_ends_with_the_table_of_a_whole_one(
    tmp_path: Path,
) -> None:
    # Of a seed that no other test has: equal content would be packed already.
    data = write_phantoms(tmp_path / "data", patients=6, slices=4, size=32, seed=418)
    words = ["train", f"--data={data}", f"--storage={tmp_path}", "--wandb=off", "--epochs=2"]
    words += ["--image-size=32", "--set=model=plain", "--set=model.plain.width=4"]
    words += ["--set=batch_size=4", "--concurrent=1"]  # the same threads for any number of trials
    before = set(default_cache().glob("packs/*/slices.npy"))
    first = brainseg(*words)
    assert first.status == 0 and "made again" not in first.stdout, first
    (pack,) = set(default_cache().glob("packs/*/slices.npy")) - before
    stat, content = pack.stat(), bytearray(pack.read_bytes())
    content[-1000:] = bytes(1000)
    pack.write_bytes(content)
    os.utime(pack, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = brainseg(*words, "--trials=2")  # the driver has no need of the pack, the trial has
    assert again.status == 0, again
    line = f"[0001] {pack.parent} is made again: slices.npy does not have its checksum"
    assert again.stdout.splitlines().count(line) == 1, again
    run = Run(tmp_path / "train")
    tables = [run.trial(name).patients.read_text() for name in ("0000", "0001")]
    assert tables[0] == tables[1]
