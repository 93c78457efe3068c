"""Addresses of data in a store, as s3://bucket/folder, and what they must not contain."""

import re

SECRET = re.compile(r"[?&][\w.-]*(key|secret|token|password|sig|credential)[\w.-]*=", re.IGNORECASE)


def is_address(data: str) -> bool:
    """Whether this is an address, not the path of a folder."""
    return "://" in data


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
