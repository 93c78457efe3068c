"""A Ray cluster joined, or Ray begun on this machine for as long as it is needed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)


def has_begun() -> bool:
    """Whether this program has a Ray already."""
    return bool(ray.is_initialized())


@contextmanager
def joined(address: str | None) -> Iterator[bool]:
    """Join the cluster at ``address``, else at $RAY_ADDRESS, or start Ray on this machine.

    Yields whether it is a cluster that others keep, to which machines may still come. A Ray that
    the caller had begun is used, and left as it is. The dashboard stays on: without it, placement
    groups of stopped trials are never freed.

    Raises:
        ValueError: nothing answers at the address, or it is one of a Ray Client.
    """
    if (address or os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
        raise ValueError(
            "a sweep's driver must run on a machine of its cluster, where the results are, got a "
            "Ray Client's address ray://...; use `ray submit` or `ray job submit`"
        )
    begun = not ray.is_initialized()
    if begun:
        # Ray's own `ray start` does this, a driver that joins does not, and is refused.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        try:
            ray.init(
                address=address,
                include_dashboard=None if address else True,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except ConnectionError as error:
            raise ValueError(
                f"no Ray cluster answers at {address or 'the address in RAY_ADDRESS'} "
                f"({str(error).splitlines()[0]}); start it, or correct --address"
            ) from None
    try:
        node = ray._private.worker.global_worker.node
        assert node, "a driver that is no Ray Client has one"
        yield not node.is_head()
    finally:
        if begun:
            ray.shutdown()
