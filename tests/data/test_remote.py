"""Data elsewhere are copied once, whole and under their own times, from a real S3 server or fail
in one sentence. The server is moto's, on this machine."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import fs

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.schema import build
from brainseg.config.space import Space
from brainseg.config.sweep import Split, Sweep
from brainseg.data.address import is_address
from brainseg.data.dataset import read_data
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import open_pack
from brainseg.data.partition import assign_split
from brainseg.data.phantom import write_phantoms
from brainseg.data.remote import local_copy
from brainseg.data.table import read_slices
from brainseg.launch.run_folder import locked_run, open_run
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.training.trial import run_trial, train
from tests.support.sweeps import brainseg
from tests.support.tasks import task_of

KEY, SECRET = "CANARYKEY", "canary/secret"


def silent(line: str) -> None:
    pass


def start_server(**surroundings: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | surroundings
    )
    try:
        for _ in range(300):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "the S3 server ended"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    yield from start_server()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> fs.FileSystem:
    """A client of the server; the surroundings lead whoever asks for s3:// there as well."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return fs.S3FileSystem(endpoint_override=server, allow_bucket_creation=True)


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=3, slices=4, size=32)


@pytest.fixture
def address(s3: fs.FileSystem, patients: Path, request: pytest.FixtureRequest) -> str:
    """The patients in a bucket of the test's own."""
    bucket = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    s3.create_dir(bucket)
    fs.copy_files(str(patients), f"{bucket}/data", destination_filesystem=s3)
    return f"s3://{bucket}/data"


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("[!.]*") if path.is_file())  # without .checksums
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        work()
    assert KEY not in str(error.value) and SECRET not in str(error.value)
    return str(error.value)


def put(s3: fs.FileSystem, path: str, content: bytes) -> None:
    with s3.open_output_stream(path, compression=None) as stream:
        stream.write(content)


@pytest.mark.parametrize("path", ["data", "/data", "s3:/bucket", "../a b"])
def test_a_path_is_its_own_copy(tmp_path: Path, path: str) -> None:
    assert not is_address(path)
    assert local_copy(path, tmp_path) == Path(path)
    assert not list(tmp_path.iterdir())


def test_the_home_folder_may_be_abbreviated(tmp_path: Path) -> None:
    assert local_copy("~/x", tmp_path) == Path.home() / "x"


def test_a_bucket_becomes_a_folder_with_the_same_files(
    address: str, patients: Path, tmp_path: Path
) -> None:
    copy = local_copy(address, tmp_path, log=silent)
    assert copy.parent == tmp_path / "data"
    assert contents(copy) == contents(patients)
    assert not list(copy.parent.glob("*.partial"))


def test_slices_are_found_and_packed_from_the_copy_as_from_the_original(
    address: str, patients: Path, tmp_path: Path
) -> None:
    copy = local_copy(address, tmp_path, log=silent)
    table = find_slices(copy)
    assert table.equals(find_slices(patients))
    there, here = (
        open_pack(table, root, image_size=32, cache=tmp_path) for root in (copy, patients)
    )
    assert np.array_equal(there.images_NHWC, here.images_NHWC)
    assert np.array_equal(there.masks_NHW, here.masks_NHW)


def test_a_copy_made_twice_has_one_fingerprint(address: str, tmp_path: Path) -> None:
    first, second = (local_copy(address, tmp_path / node, log=silent) for node in ("a", "b"))
    assert first.name == second.name and first != second
    assert fingerprint(find_slices(first), first) == fingerprint(find_slices(second), second)


def test_the_second_call_copies_nothing(address: str, patients: Path, tmp_path: Path) -> None:
    printed: list[str] = []
    copy = local_copy(address, tmp_path, log=printed.append)
    count = len(contents(patients))
    assert printed[0] == f"copying {count} files, 0.1 MB from {address} to {copy}"
    assert printed[1].startswith(f"copied {count} files, 0.1 MB in ")
    inode = copy.stat().st_ino
    assert local_copy(address, tmp_path, log=printed.append).stat().st_ino == inode
    assert len(printed) == 2


def test_changed_data_are_another_copy(address: str, s3: fs.FileSystem, tmp_path: Path) -> None:
    before = local_copy(address, tmp_path, log=silent)
    put(s3, address.removeprefix("s3://") + "/note.txt", b"more")
    after = local_copy(address, tmp_path, log=silent)
    assert after != before and (after / "note.txt").read_bytes() == b"more"
    assert not (before / "note.txt").exists()


def test_a_run_s_copy_is_taken_without_asking(
    address: str, s3: fs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = local_copy(address, tmp_path / "a", log=silent)
    assert local_copy(address, tmp_path / "b", copy=copy.name, log=silent).name == copy.name
    put(s3, address.removeprefix("s3://") + "/note.txt", b"more")
    assert local_copy(address, tmp_path / "c", copy=copy.name, log=silent).name != copy.name
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert local_copy(address, tmp_path / "a", copy=copy.name) == copy


def copied(address: str, cache: Path) -> list[str]:
    printed: list[str] = []
    local_copy(address, cache, log=printed.append)
    return printed


def test_processes_that_start_together_copy_once(address: str, tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        calls = [pool.submit(copied, address, tmp_path) for _ in range(3)]
        outputs = [call.result() for call in calls]
    assert sum(bool(lines) for lines in outputs) == 1


def test_what_a_killed_process_left_is_swept_up(
    address: str, patients: Path, tmp_path: Path
) -> None:
    name = local_copy(address, tmp_path / "a", log=silent).name
    left = tmp_path / "b" / "data" / f"{name}.partial"
    left.mkdir(parents=True)
    (left / "half.tif").write_bytes(b"II*")
    assert contents(local_copy(address, tmp_path / "b", log=silent)) == contents(patients)
    assert not left.exists()


def test_the_server_may_be_named_in_the_address(
    address: str, server: str, patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    where = f"{address}?endpoint_override={server.removeprefix('http://')}&scheme=http"
    assert contents(local_copy(where, tmp_path, log=silent)) == contents(patients)


def test_hidden_files_stay_behind_and_packed_ones_stay_packed(
    s3: fs.FileSystem, tmp_path: Path
) -> None:
    s3.create_dir("odd")
    for name in ("a.nii.gz", ".DS_Store", "b/._a.tif", ".git/x", "b/c..tif"):
        put(s3, f"odd/data/{name}", b"\x1f\x8b not really")
    copy = local_copy("s3://odd/data/", tmp_path, log=silent)
    assert contents(copy) == dict.fromkeys(["a.nii.gz", "b/c..tif"], b"\x1f\x8b not really")


def test_a_folder_elsewhere_on_this_machine_is_copied_too(patients: Path, tmp_path: Path) -> None:
    copy = local_copy(f"file://{patients}", tmp_path, log=silent)
    assert contents(copy) == contents(patients) and copy.is_relative_to(tmp_path)


def test_what_fsspec_alone_can_open_is_copied(patients: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name, content in contents(patients).items():
            archive.writestr(f"kaggle/{name}", content)
    copy = local_copy(f"zip://kaggle::{tmp_path}/p.zip", tmp_path, log=silent)
    assert contents(copy) == contents(patients)


@pytest.mark.parametrize("name", ["../evil.tif", "a/../../evil.tif"])
def test_a_file_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr(name, b"II*")
    cache = tmp_path / "cache"
    message = f"a file must stay inside its folder, zip://::{tmp_path}/p.zip holds {name!r}"
    assert message in refused(lambda: local_copy(f"zip://::{tmp_path}/p.zip", cache))
    assert not cache.exists() and not list(tmp_path.rglob("evil.tif"))


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        ("s3://no-such-bucket/data", "there is no such bucket; check its name"),
        ("s3://empty/nothing/here", "nothing is there; check the path"),
        ("s3://empty/data", "it holds no file"),
        ("s3://empty/data?regio=eu", "Unexpected query parameter in S3 URI: 'regio'"),
        ("s3://empty/data?endpoint_override=127.0.0.1:1", "its server cannot be reached; check"),
        ("file:///no/such/folder", "nothing is there; check the path"),
        ("foo://x/y", "Protocol not known: foo"),
        ("az://container/x", "a package is missing: Install adlfs"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_with_the_cause(
    s3: fs.FileSystem, tmp_path: Path, where: str, cause: str
) -> None:
    s3.create_dir("empty")
    s3.create_dir("empty/data")
    message = refused(lambda: local_copy(where, tmp_path))
    assert message.startswith(f"data must be a folder that can be read, {where}: {cause}")
    assert "\n" not in message


def test_wrong_credentials_say_which_variables_to_set(
    tmp_path: Path, s3: fs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for endpoint in start_server(INITIAL_NO_AUTH_ACTION_COUNT="0"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        message = refused(lambda: local_copy("s3://bucket/data", tmp_path))
    assert (
        "s3://bucket/data: credentials are missing, wrong or not allowed to read it; set AWS_"
        in message
    )


def test_a_cache_that_cannot_be_written_is_named(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused(lambda: local_copy(address, tmp_path / "file"))
    assert message.startswith("the cache must be a writable folder with room for 0.1 MB, ")
    assert message.endswith("set BRAINSEG_CACHE to another")


def begun(address: str, folder: Path) -> Run:
    """A run on remote data, ready for its trials."""
    model = Plain(width=4, depth=2)
    config = TrialConfig(model=model, image_size=32, batch_size=2, epochs=1, precision="float32")
    sweep = Sweep(name="s", question="?", space=Space(config, search=()), split=Split(test=0.0))
    data = read_data(address, "auto", silent)
    data.table["part"] = assign_split(data, sweep.split, silent)["part"]
    run = Run(folder)
    with locked_run(run):
        open_run(run, sweep, data, made_up=True, command="brainseg train")
    return run


def told(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_trial_on_another_node_reads_its_own_copy_and_no_record_holds_a_key(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "head"))
    run = begun(address, tmp_path / "run")
    recorded = read_json(run.sweep)
    assert recorded["data"]["root"] == address
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "worker"))
    task = task_of(run, "0000", build(TrialConfig(), recorded["base"]))
    train(task, lambda row: None, torch.device("cpu"))
    assert len(task.folder.rows()) == 1
    copies = [tmp_path / node / "data" / recorded["data"]["copy"] for node in ("head", "worker")]
    assert contents(copies[0]) == contents(copies[1])
    assert KEY.encode() not in told(tmp_path) and SECRET.encode() not in told(tmp_path)


def test_a_trial_does_not_begin_on_data_that_have_changed(
    address: str, s3: fs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "head"))
    run = begun(address, tmp_path / "run")
    one, other = (f"{address.removeprefix('s3://')}/{name}" for name in images_of(run)[:2])
    pixels = {name: s3.open_input_stream(name).readall() for name in (one, other)}
    time.sleep(1.1)  # buckets tell times in whole seconds
    put(s3, one, pixels[other])
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "worker"))
    task = task_of(run, "0000", build(TrialConfig(), read_json(run.sweep)["base"]))
    run_trial(task, lambda row: None, torch.device("cpu"))
    assert "files must not change during a run" in task.folder.failure.read_text()
    time.sleep(1.1)
    put(s3, one, pixels[one])  # written anew, with the content that it had
    put(s3, address.removeprefix("s3://") + "/note.txt", b"more")
    train(task, lambda row: None, torch.device("cpu"))
    assert len(task.folder.rows()) == 1


def images_of(run: Run) -> list[str]:
    return read_slices(run.slices)["image"].tolist()


@pytest.mark.ray
def test_a_sweep_runs_on_a_bucket_and_no_file_holds_a_key(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", f"--data={address}", f"--storage={tmp_path}", "--test=0", "--wandb=offline"]
    words += ["--epochs=1", "--image-size=32", "--set=model=plain", "--set=model.plain.width=4"]
    command = [sys.executable, "-c", "from brainseg.cli.main import main; main()", *words]
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    ray = tempfile.mkdtemp(dir="/tmp")  # sockets need a short path
    # A Ray of its own, begun with the keys: in its environment its processes may have them.
    first = subprocess.run(
        command, env=os.environ | {"RAY_TMPDIR": ray}, capture_output=True, text=True
    )
    assert first.returncode == 0, first.stdout + first.stderr
    again = brainseg(*words)
    assert again.status == 0, again
    assert KEY not in first.stdout + first.stderr + again.stdout + again.stderr
    assert "all 1 trials were tried; raise the budget" in again.stdout
    assert "copying" in first.stdout and "copying" not in again.stdout
    for folder in (tmp_path, Path(ray)):
        assert KEY.encode() not in told(folder) and SECRET.encode() not in told(folder)
    shutil.rmtree(ray)
