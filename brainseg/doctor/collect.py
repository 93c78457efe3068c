"""The doctor's evidence: facts of one machine, or of every node of a cluster and between them."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainseg.cluster.reachability import last_line
from brainseg.doctor import machine, shared_folder
from brainseg.doctor.machine import MachineFacts, facts_of

if TYPE_CHECKING:
    from brainseg.cluster.nodes import Node

Ask = Callable[..., dict[str, Any]]  # runs a function on each node; a value or an error by node
DRIVER = "the driver"  # its label among nodes: this process
LOOK_SECONDS = 120.0  # a node's first task starts a process there, which starts one with torch


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """Weights & Biases, as the sweep's driver finds it."""

    key: bool = False
    server: str = ""
    reachable: bool = False
    error: str = ""  # why it cannot even be asked
    refusal: str = ""  # why its key is none


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was found out, by node; without a cluster there is one node."""

    driver: MachineFacts  # of the machine that this process runs on
    nodes: Mapping[str, MachineFacts]
    tracker: Tracker
    cluster: str = ""  # its address
    failed: Mapping[str, str] = field(default_factory=dict)  # nodes that gave no answer, and why
    ips: Mapping[str, str] = field(default_factory=dict)
    counted_gpus: Mapping[str, float] = field(default_factory=dict)  # by Ray
    clocks: Mapping[str, float] = field(
        default_factory=dict
    )  # seconds ahead of the driver's, at least
    storage: str = ""
    unshared: Mapping[str, str] = field(default_factory=dict)  # by node: the problem
    data: str = ""
    counts: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # files, or why none


def examine_machine(storage: str, data: str) -> Evidence:
    """This machine alone; starts no Ray."""

    def here(work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        return {host: work(*arguments)}

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(_tracker)
        facts = facts_of(machine.collect(storage))
    host = facts.host
    return Evidence(
        driver=facts,
        nodes={host: facts},
        tracker=asking.result(),
        storage=storage,
        unshared=_unshared(storage, here) if storage else {},
        data=data,
        counts=_counts(here, data) if data else {},
    )


def examine_cluster(address: str, storage: str, data: str) -> Evidence:
    """Every node of the cluster at ``address``, of which this machine must be one.

    ValueError: it cannot be joined.
    """
    from brainseg.cluster.nodes import living
    from brainseg.cluster.reachability import require_reachable
    from brainseg.cluster.session import joined

    require_reachable(address)
    with ThreadPoolExecutor(2) as pool, joined(address):
        looking = pool.submit(machine.collect, storage)
        asking = pool.submit(_tracker)
        nodes = labelled(living())
        answers = _asked(nodes, machine.collect, storage)
        failed = {label: last_line(value) for label, value in answers.items() if _is_error(value)}
        healthy = {label: node for label, node in nodes.items() if label not in failed}

        def ask(work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
            return _asked(healthy, work, *arguments)

        return Evidence(
            driver=facts_of(looking.result()),
            nodes={label: facts_of(answers[label]) for label in healthy},
            tracker=asking.result(),
            cluster=address,
            failed=failed,
            ips={label: node.ip for label, node in nodes.items()},
            counted_gpus={label: node.gpus for label, node in nodes.items()},
            clocks=_clocks(ask),
            storage=storage,
            unshared=_unshared(storage, ask) if storage else {},
            data=data,
            counts=_counts(ask, data) if data else {},
        )


def labelled(nodes: "list[Node]") -> "dict[str, Node]":
    """Nodes by host name, with address and id where host names or addresses are the same."""
    hosts = Counter(node.host for node in nodes)
    places = Counter((node.host, node.ip) for node in nodes)
    labels = {}
    for node in nodes:
        label = node.host if hosts[node.host] == 1 else f"{node.host} {node.ip}"
        if places[node.host, node.ip] > 1:
            label += f" {node.id[:6]}"
        labels[label] = node
    return labels


def _asked(nodes: "dict[str, Node]", work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    from brainseg.cluster.nodes import on_each

    label = {node: label for label, node in nodes.items()}
    answers = on_each(work, *arguments, nodes=list(label), timeout_seconds=LOOK_SECONDS)
    return {label[node]: value for node, value in answers.items()}


def _is_error(value: Any) -> bool:
    return isinstance(value, Exception)


def _tracker() -> Tracker:
    try:
        from brainseg.tracking import account

        key, server = account.default_mode() == "online", account.server()
    except ValueError as error:
        return Tracker(refusal=str(error))
    except Exception as error:  # a package that is missing or broken is a finding as well
        return Tracker(error=f"{type(error).__name__}: {error}")
    return Tracker(key=key, server=server, reachable=machine.reachable(server))


def _counts(ask: Ask, data: str) -> dict[str, tuple[int, str]]:
    """Files that each node sees in the data, or why it sees none."""
    answers = ask(machine.counted, data)
    return {label: (0, last_line(v)) if _is_error(v) else v for label, v in answers.items()}


def _unshared(storage: str, ask: Ask) -> dict[str, str]:
    """Problems with the storage, by node; this process's own under DRIVER."""
    try:
        with shared_folder.leave_word(Path(storage)) as (folder, word):
            answers = ask(shared_folder.answer, folder, word)
            wrong = {}
            for label, value in answers.items():
                name, why = ("", last_line(value)) if _is_error(value) else value
                if not why and not shared_folder.reads_back(folder, word, name):
                    why = "writes there, but the driver does not see it"
                if why:
                    wrong[label] = why
            return wrong
    except OSError as error:
        return {DRIVER: f"cannot write there ({error.strerror})"}


def _clocks(ask: Ask) -> dict[str, float]:
    """Seconds by which a node's clock is at least ahead of this one's; negative if behind."""
    before = time.time()
    answers = ask(machine.now)
    after = time.time()
    return {
        label: max(clock - after, 0.0) + min(clock - before, 0.0)
        for label, clock in answers.items()
        if not _is_error(clock)
    }
