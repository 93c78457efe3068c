"""What machines share and whom they reach, and who reaches them: storage, data, servers, ports."""

from collections.abc import Iterator

from brainseg.doctor.collect import DRIVER, Seen
from brainseg.doctor.findings import INSTALL, Finding, among, by_value, told_apart
from brainseg.doctor.open_ports import Port


def outside(seen: Seen) -> Iterator[Finding]:
    yield from _storage(seen)
    yield from _data(seen)
    yield _wandb(seen)
    yield from _hub(seen)
    yield from _ports(seen)
    yield from _dashboard(seen)


def _storage(seen: Seen) -> Iterator[Finding]:
    if not seen.storage:
        if seen.cluster and len(seen.nodes) > 1:
            what = "whether all nodes share a folder for results was not looked at"
            yield Finding(level="note", topic="storage", seen=what, remedy="add --storage FOLDER")
        return
    for why, labels in by_value(seen.unshared).items():
        where = DRIVER if labels == [DRIVER] else among(labels, seen)
        yield Finding(
            level="problem",
            topic="storage",
            seen=f"{seen.storage}: {where} {why}",
            remedy="mount the same folder at this path on every node (NFS, EFS), writable for the "
            "user that runs Ray"
            if seen.cluster
            else "name a folder in which you may write",
        )
    if not seen.unshared:
        what = "written and read" + (f" by {among(seen.nodes, seen)}" if seen.cluster else "")
        yield Finding(level="ok", topic="storage", seen=f"{seen.storage}: {what}")


def _data(seen: Seen) -> Iterator[Finding]:
    if not seen.data:
        return
    absent = {label: why for label, (_, why) in seen.counts.items() if why}
    for why, labels in by_value(absent).items():
        yield Finding(
            level="problem",
            topic="data",
            seen=f"{seen.data} cannot be read on {among(labels, seen)}: {why}",
            remedy="bring the data to the same path on every node, or name an address that all "
            "reach, as s3://bucket/folder"
            if seen.cluster
            else "correct --data",
        )
    counts = {label: f"{count} files" for label, (count, why) in seen.counts.items() if not why}
    if len(set(counts.values())) > 1:
        yield Finding(
            level="problem",
            topic="data",
            seen=f"{seen.data} differs: {told_apart(counts, seen)}",
            remedy="copy it anew where files are missing",
        )
    elif counts and not absent:
        where = f" on {among(seen.nodes, seen)}" if len(counts) > 1 else ""
        what = f"{seen.data}: {next(iter(counts.values()))}{where}; `brainseg check` reads them"
        yield Finding(level="ok", topic="data", seen=what)


def _wandb(seen: Seen) -> Finding:
    """Runs go online where there is a key; the driver alone talks to the server."""
    server = seen.tracker.server
    if seen.tracker.error:
        return Finding(
            level="problem",
            topic="W&B",
            seen=f"its package cannot be used ({seen.tracker.error}): no sweep will begin",
            remedy=INSTALL,
        )
    if not seen.tracker.key:
        answers = "answers" if seen.tracker.reachable else "does not answer"
        return Finding(
            level="note",
            topic="W&B",
            seen=f"no key, or told to stay offline: runs are kept below the storage; {server} "
            f"{answers}",
            remedy="`wandb sync` later; or `wandb login`, or export WANDB_API_KEY, for live curves",
        )
    if not seen.tracker.reachable:
        return Finding(
            level="note",
            topic="W&B",
            seen=f"there is a key, but {server} does not answer: live curves will be missing",
            remedy="--wandb offline and `wandb sync` later; or mend the network, proxy or "
            "WANDB_BASE_URL",
        )
    return Finding(level="ok", topic="W&B", seen=f"online: a key is there, {server} answers")


def _hub(seen: Seen) -> Iterator[Finding]:
    states = {}
    for label, facts in seen.nodes.items():
        chosen = "HF_HUB_OFFLINE is set" if facts.hub_offline else f"{facts.hub} does not answer"
        states[label] = "" if facts.hub_reachable else chosen
    for state, labels in by_value(states).items():
        if state:
            yield Finding(
                level="note",
                topic="hub",
                seen=f"{state} on {among(labels, seen)}: no weights can be downloaded there",
                remedy="`brainseg weights fetch ENCODER` where it answers and HF_HOME on a folder "
                "that all share; or --weights FILE or none",
            )
        elif len(labels) == len(states):
            what = f"{seen.driver.hub} answers: pretrained weights can be downloaded"
            yield Finding(level="ok", topic="hub", seen=what)


def _ports(seen: Seen) -> Iterator[Finding]:
    """Ray runs the code of whoever reaches it, unless it asks for a token."""
    bare = _open_ports(seen, token=False)
    guarded = _open_ports(seen, token=True)
    for ports, labels in by_value({k: _listed(own) for k, own in bare.items()}).items():
        yield Finding(
            level="problem",
            topic="ports",
            seen=f"Ray on {among(labels, seen)} takes code from whoever reaches {ports}, and runs "
            "it as its user",
            remedy="`ray get-auth-token --generate`, the same ~/.ray/auth_token on all, and export "
            "RAY_AUTH_MODE=token before `ray start`; a firewall around the cluster besides",
        )
    for ports, labels in by_value({k: _listed(own) for k, own in guarded.items()}).items():
        yield Finding(
            level="note",
            topic="ports",
            seen=f"Ray on {among(labels, seen)} answers other machines at {ports}; it asks for a "
            "token, which travels in the clear unless RAY_USE_TLS=1",
            remedy="keep them inside the cluster's own network",
        )
    if bare and guarded:
        yield Finding(
            level="note",
            topic="ports",
            seen=f"some of Ray's processes ask for a token (on {among(guarded, seen)}), some do "
            f"not (on {among(bare, seen)})",
            remedy="where they are of one cluster, export the same RAY_AUTH_MODE on every node and "
            "in every shell, then restart Ray",
        )
    if not bare and not guarded:
        yield Finding(level="ok", topic="ports", seen="no port of Ray is open to other machines")


def _dashboard(seen: Seen) -> Iterator[Finding]:
    bare = _open_ports(seen, token=False)
    if pages := [k for k, ports in bare.items() if any(p.process == "dashboard" for p in ports)]:
        yield Finding(
            level="problem",
            topic="dashboard",
            seen=f"open to other machines without a token on {among(pages, seen)}: it takes jobs",
            remedy="leave --dashboard-host at 127.0.0.1, and look through `ray dashboard` or "
            "ssh -L 8265:localhost:8265",
        )


def _open_ports(seen: Seen, *, token: bool) -> dict[str, list[Port]]:
    """By node, the ports that ask for a token or do not; those of metrics run nothing."""
    found = {
        label: [p for p in facts.ports if p.token == token and p.process != "metrics"]
        for label, facts in seen.nodes.items()
    }
    return {label: ports for label, ports in found.items() if ports}


def _listed(ports: list[Port]) -> str:
    """`head (GCS) 6379, raylet 2 ports`: numbers that a person chose, else how many."""
    found = []
    for process in dict.fromkeys(port.process for port in ports):
        own = [port.port for port in ports if port.process == process]
        found.append(f"{process} {own[0]}" if len(own) == 1 else f"{process} {len(own)} ports")
    return ", ".join(found)
