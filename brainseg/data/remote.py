"""Data behind an address (s3://, gs://, file:// and others), copied once to this node's disk.

pyarrow opens an address or, if it cannot, fsspec; a plain path is its own copy. The server and the
credentials come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ~/.aws,
GOOGLE_APPLICATION_CREDENTIALS, a role), never from the address, which is kept in records.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from pyarrow import fs as arrow

from brainseg.data.address import is_address, local_path, require_no_credentials
from brainseg.data.checksums import damage, ensure_whole
from brainseg.process import Log
from brainseg.records.cache import megabytes

THREADS = 16  # more than cores: small files wait for the network
CHUNK_BYTES = 1 << 22
SAY_SECONDS = 10.0
GCS_PATIENCE_SECONDS = 60
ARROW = "(file|s3|gs|gcs|abfss?|hdfs|viewfs)://"  # what pyarrow opens; fsspec opens the rest
VERSIONS = ("ETag", "etag", "md5Hash", "CRC", "mtime", "created", "LastModified", "updated")
REMEDIES = {  # what an error of pyarrow or of a server contains: its cause; what to do
    r"NO_?SUCH_?BUCKET|BUCKET DOES NOT EXIST": "there is no such bucket; check its name",
    r"ACCESS_?\s?DENIED|FORBIDDEN|INVALID_?ACCESS_?KEY|SIGNATURE|UNRECOGNIZED_?CLIENT|CREDENTIAL|"
    r"UNAUTHENTICATED|PERMISSION|FAILED TO GET TOKEN": "credentials are missing, wrong or not "
    "allowed to read it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for gs:// "
    "GOOGLE_APPLICATION_CREDENTIALS), or give this machine a role",
    r"NETWORK_?CONNECTION|RESOLVE HOST|CONNECT": "its server cannot be reached; check the network, "
    "and AWS_ENDPOINT_URL if the server is not Amazon's",
}


@dataclass(frozen=True)
class RemoteFile:
    """One file of a listing."""

    path: str  # as its file system names it
    name: str  # under the address
    size: int  # 0 unknown
    mtime_ns: int  # 0 unknown
    version: str  # changes with the content


def local_copy(data: str, cache: Path, *, copy: str = "", log: Log = print) -> Path:
    """Return a folder of this node that holds the data; a path is returned as it is.

    The copy is named after the address and the listing there (names, sizes, times or ETags), so
    changed data are copied again. Processes that start together copy once, the others wait. Each
    compares the copy with its checksums; a damaged one is copied again.

    Args:
        copy: the name of the copy that a run started with. If this node has it whole, the server
            is not asked. Otherwise whoever reads the copy compares its content with the run's.

    Raises:
        ValueError: credentials in the address, nothing there, no permission, no connection, a
            file name that leaves the folder, a cache that is full or cannot be written.
    """
    if not is_address(data):
        return local_path(data)
    require_no_credentials(data)
    if copy and not damage(cache / "data" / copy):
        return cache / "data" / copy
    with _explained(data):
        source, files = _listed(data)
    _refuse_listing(data, files)
    text = "\n".join([data, *(f"{file.name}\0{file.size}\0{file.version}" for file in files)])
    name = hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
    folder = cache / "data" / name
    _copy(data, source, files, folder, log)
    return folder


def num_files(data: str) -> int:
    """How many files the server lists under the address.

    Raises:
        ValueError: as for local_copy.
    """
    require_no_credentials(data)
    with _explained(data):
        _, files = _listed(data)
    _refuse_listing(data, files)
    return len(files)


def _listed(data: str) -> tuple[arrow.FileSystem, list[RemoteFile]]:
    """Every visible file under the address, by name."""
    if not re.match(ARROW, data) or "::" in data:
        other, base = fsspec.core.url_to_fs(data)
        source = arrow.PyFileSystem(arrow.FSSpecHandler(other))
        files = [_of_fsspec(info, base) for info in other.find(base, detail=True).values()]
    else:
        source, base = arrow.FileSystem.from_uri(_with_time_limit(data))
        entries = source.get_file_info(arrow.FileSelector(base, recursive=True))
        files = [_of_arrow(info, base) for info in entries if info.type == arrow.FileType.File]
    visible = [file for file in files if not re.search(r"(^|/)\.[^./]", file.name)]
    return source, sorted(visible, key=lambda file: file.name)


def _with_time_limit(data: str) -> str:
    """The address, with a limit: by default pyarrow retries Google's store for 15 minutes."""
    if not re.match("gs://|gcs://", data) or "retry_limit_seconds" in data:
        return data
    return f"{data}{'&' if '?' in data else '?'}retry_limit_seconds={GCS_PATIENCE_SECONDS}"


def _of_arrow(info: Any, base: str) -> RemoteFile:
    mtime_ns = info.mtime_ns or 0
    return RemoteFile(info.path, _under(info.path, base), info.size, mtime_ns, str(mtime_ns))


def _of_fsspec(info: dict[str, Any], base: str) -> RemoteFile:
    version = " ".join(f"{key}={info[key]}" for key in VERSIONS if key in info)
    return RemoteFile(info["name"], _under(info["name"], base), info["size"] or 0, 0, version)


def _under(path: str, base: str) -> str:
    return path.removeprefix(base.rstrip("/")).removeprefix("/")


def _copy(
    data: str, source: arrow.FileSystem, files: list[RemoteFile], folder: Path, log: Log
) -> None:
    """Copy all files into the cache, unless it has them whole or another process does."""
    num_bytes = sum(file.size for file in files)
    whole = f"{len(files)} files, {megabytes(num_bytes)}"

    def fill(draft: Path) -> None:
        log(f"copying {whole} from {data} to {folder}")
        started = reported = time.monotonic()
        pool = ThreadPoolExecutor(THREADS)
        try:
            copies = [pool.submit(_copy_file, data, source, file, draft) for file in files]
            for count, done in enumerate(as_completed(copies), start=1):
                done.result()
                if time.monotonic() - reported > SAY_SECONDS:
                    reported = time.monotonic()
                    log(f"copied {count} of {whole}")
        finally:
            pool.shutdown(cancel_futures=True)
        log(f"copied {whole} in {time.monotonic() - started:.0f} s")

    ensure_whole(folder, fill, num_bytes=num_bytes, log=log)


def _copy_file(data: str, source: arrow.FileSystem, file: RemoteFile, draft: Path) -> None:
    """Copy one file with its time, by which fingerprints of older runs know it."""
    target = draft / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as local:
        for chunk in _chunks(data, source, file):
            local.write(chunk)
        local.flush()
        os.fsync(local.fileno())
        size = local.tell()
    if file.size and size != file.size:
        raise ValueError(
            f"a file must have the size that was listed, {data}/{file.name} has {size} bytes "
            f"instead of {file.size}; it changed while it was copied: try again"
        )
    os.utime(target, ns=(file.mtime_ns, file.mtime_ns))


def _chunks(data: str, source: arrow.FileSystem, file: RemoteFile) -> Iterator[bytes]:
    with _explained(f"{data} ({file.name})"):
        stream = source.open_input_stream(file.path, compression=None)  # or .gz is unpacked
    with stream:
        while True:
            with _explained(f"{data} ({file.name})"):
                chunk = stream.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


@contextmanager
def _explained(data: str) -> Iterator[None]:
    """Turn any error of a store into one sentence; each back end has its own types of errors."""
    try:
        yield
    except FileNotFoundError:
        cause = "nothing is there; check the path"
    except ImportError as error:
        cause = f"a package is missing: {error}"
    except Exception as error:
        text = str(error) or type(error).__name__
        known = (cause for signs, cause in REMEDIES.items() if re.search(signs, text.upper()))
        cause = next(known, text.splitlines()[0])
    else:
        return
    raise ValueError(f"data must be a folder that can be read, {data}: {cause}") from None


def _refuse_listing(data: str, files: list[RemoteFile]) -> None:
    if not files:
        raise ValueError(f"data must be a folder that can be read, {data}: it holds no file")
    for file in files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or ".." in path.parts or "\0" in file.name:
            raise ValueError(
                f"a file must stay inside its folder, {data} holds {file.name!r}; rename it"
            )
