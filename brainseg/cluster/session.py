"""A Ray cluster that this program joins, or a Ray of its own for as long as needed."""

import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private.authentication import authentication_token_setup as authentication
from ray._private.ray_logging import stdout_deduplicator as printed

from brainseg.cluster.ray_folder import (
    cause_in_logs,
    folder_problem,
    ray_folder,
    shared_memory_problem,
    shorten_tmpdir,
)
from brainseg.cluster.reachability import LOCAL, last_line, shortened
from brainseg.process import handlers_kept

# What concerns a user, brainseg says itself; all else is in the logs of Ray's session.
QUIET = logging.CRITICAL


def has_started() -> bool:
    """Whether this program has joined or started a Ray."""
    return bool(ray.is_initialized())


def own_node() -> Any:
    """Ray's own record of the node that this driver runs on."""
    node = ray._private.worker.global_worker.node
    assert node, "a driver that is no Ray Client has one"
    return node


def answering_to_auto() -> str:
    """The cluster that "auto" names: the last one that `ray start` began here, or the only one.

    ValueError: there is none, or it is unclear which.
    """
    last: str | None = services.find_bootstrap_address(None)
    if last:
        return last  # nothing else, if it has ended: that may be another sweep's own
    running: frozenset[str] = services.find_gcs_addresses()
    if len(running) > 1:
        raise ValueError(
            f"`auto` must name one Ray, but {', '.join(sorted(running))} run on this machine; name "
            "one as HOST:PORT"
        )
    if not running:
        raise ValueError(
            "no Ray runs on this machine for `auto` to join; start one with `ray start --head`, "
            "name HOST:PORT of another machine, or leave out the address to use this one alone"
        )
    return next(iter(running))


@contextmanager
def joined(address: str) -> Iterator[bool]:
    """Join the cluster at ``address``; at LOCAL, start a Ray of this program's own.

    Yields whether the cluster is shared: other programs may use it, and machines may still join.
    A Ray that the caller has started is used, and keeps running.

    Raises:
        ValueError: nothing answers at the address, or Ray does not start here.
    """
    if has_started():
        yield not own_node().is_head()
        return
    with _quiet():
        try:
            with handlers_kept():  # Ray sets one of its own, which ends the program by SystemExit
                start() if address == LOCAL else _join(address)
        except SystemExit:
            shut_down()
            raise KeyboardInterrupt from None
        try:
            yield not own_node().is_head()
        finally:
            shut_down()


def shut_down() -> None:
    """End this program's part in Ray, while a signal still ends the program as it did before.

    In a thread: Ray's C++ code sets SIGTERM to its default a second before ``ray.shutdown`` is done
    (``RayLog::UninstallSignalAction``), and only the main thread can set it back.
    """
    thread = threading.Thread(target=ray.shutdown)
    thread.start()
    while thread.is_alive():
        with handlers_kept():
            thread.join(0.05)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray prints nothing on this program's terminal, nor a message of its daemons."""
    log, level, skipped = logging.getLogger("ray"), logging.getLogger("ray").level, printed.skip_re
    log.setLevel(QUIET)
    printed.skip_re = re.compile("")  # what RAY_DEDUP_LOGS_SKIP_REGEX sets, but for before import
    try:
        yield
    finally:
        log.setLevel(level)
        printed.skip_re = skipped


def _join(address: str) -> None:
    # `ray start` does this by itself; a driver that joins does not, and would be refused.
    authentication.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if address == "auto":
        address = answering_to_auto()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=QUIET)
    except ConnectionError as error:
        raise ValueError(
            f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); start it, or "
            "correct the address"
        ) from None


def start(**limits: Any) -> None:
    """Start a Ray that only this program uses, whatever else of Ray's runs on this machine.

    ``limits`` are Ray's own, as num_cpus. It listens on this machine alone. The dashboard stays on:
    without it, placement groups of stopped trials are never freed.

    ValueError: it does not start, with the cause.
    """
    folder = ray_folder()
    if problem := shared_memory_problem() or folder_problem(folder):
        raise ValueError(problem)
    _require_token()
    shorten_tmpdir()
    if loopback := {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback.pop())  # workers are all here
    try:
        with _on_loopback():
            ray.init(
                address=LOCAL,
                include_dashboard=True,
                log_to_driver=False,
                logging_level=QUIET,
                _temp_dir=str(folder),
                **limits,
            )
    except Exception as error:  # Ray raises a dozen kinds, for some a bare Exception
        ray.shutdown()
        why = shortened(cause_in_logs(folder) or last_line(error))
        raise ValueError(
            f"Ray must start on this machine, but does not: {why}; its logs are in {folder}, and "
            "`brainseg doctor` looks at this machine"
        ) from None


def _require_token() -> None:
    """Have Ray ask for a token: the user's, else a new one, kept in a file if that is possible."""
    if not authentication.enable_token_auth_by_default():
        return  # as RAY_AUTH_MODE asks
    try:
        authentication.ensure_token_if_auth_enabled()
    except (OSError, RuntimeError):  # no home, or one that cannot be written to
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray's processes listen on 127.0.0.1 alone, as they do by themselves on a Mac."""
    cluster_allowed = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster_allowed
