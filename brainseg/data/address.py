"""What an address of data is, and what must not stand in one; needs no library to tell."""

import re

SECRET = re.compile(r"[?&][\w.-]*(key|secret|token|password|sig|credential)[\w.-]*=", re.IGNORECASE)


def is_address(data: str) -> bool:
    """Whether data lie in a store, as s3://bucket/folder, and not in a folder of this machine."""
    return "://" in data


def require_no_credentials(data: str) -> None:
    """Addresses are kept in records, reports and shell histories; a password has no place there."""
    for scheme, rest in (part.split("://", 1) for part in data.split("::") if "://" in part):
        authority = re.split("[/?#]", rest)[0]
        spoken = "[:@]" if scheme == "s3" else r":(?!\d*$)"  # elsewhere host:port and name@host
        if re.search(spoken, authority) or SECRET.search(rest):
            raise ValueError(
                f"an address of data must hold no credentials, this {scheme}:// address does; "
                "set them in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
