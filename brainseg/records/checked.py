"""Files of the cache that start with a checksum of the rest: a damaged one counts as missing."""

import hashlib
from pathlib import Path

from brainseg.records.files import replacing

DIGEST_BYTES = 16


def save_checked(path: Path, content: bytes) -> None:
    """Replace what ``path`` holds with ``content`` and its checksum, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)  # in a cache, which may be emptied at any time
    with replacing(path) as file:
        file.write(_checksum(content))
        file.write(content)


def read_checked(path: Path) -> bytes | None:
    """What ``save_checked`` wrote; None where the file is missing, damaged or another's."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    checksum, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    return content if checksum == _checksum(content) else None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
