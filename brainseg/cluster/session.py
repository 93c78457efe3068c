"""A Ray cluster that this program joins, or a Ray that it starts here for as long as needed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)


def has_started() -> bool:
    """Whether this program has joined or started a Ray."""
    return bool(ray.is_initialized())


def own_node() -> Any:
    """Ray's own record of the node that this driver runs on."""
    node = ray._private.worker.global_worker.node
    assert node, "a driver that is no Ray Client has one"
    return node


@contextmanager
def joined(address: str | None) -> Iterator[bool]:
    """Join the cluster at ``address``, else at $RAY_ADDRESS, or start Ray on this machine.

    Yields whether the cluster is shared: other programs may use it, and machines may still join.
    A Ray that the caller has started is used, and keeps running. The dashboard stays on: without
    it, placement groups of stopped trials are never freed.

    Raises:
        ValueError: nothing answers at the address.
    """
    starts_here, level = not has_started(), logging.getLogger("ray").level
    if starts_here:
        # `ray start` does this by itself; a driver that joins does not, and would be refused.
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
        yield not own_node().is_head()
    finally:
        if starts_here:
            ray.shutdown()
            logging.getLogger("ray").setLevel(level)
