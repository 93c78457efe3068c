"""Paths as they are typed, and addresses of data in a store, as s3://bucket/folder."""

import re
from pathlib import Path

SECRET = re.compile(r"[?&][\w.-]*(key|secret|token|password|sig|credential)[\w.-]*=", re.IGNORECASE)


def is_address(data: str) -> bool:
    """Whether this is an address, not the path of a folder."""
    return "://" in data


def local_path(path: Path | str) -> Path:
    """A path of this machine as a person types it: `~` is the home folder.

    Raises:
        ValueError: `~name` where there is no such user, or `~` where no home folder is known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path} names a home folder that this machine does not have; write the whole path"
        ) from None


def require_no_credentials(data: str) -> None:
    """Addresses are kept in records, reports and shell histories: no place for a password."""
    for scheme, rest in (part.split("://", 1) for part in data.split("::") if "://" in part):
        authority = re.split("[/?#]", rest)[0]
        password = "[:@]" if scheme == "s3" else r":(?!\d*$)"  # elsewhere host:port, name@host
        if re.search(password, authority) or SECRET.search(rest):
            raise ValueError(
                f"an address of data must hold no credentials, this {scheme}:// address does; "
                "set them in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
