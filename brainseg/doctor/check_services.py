"""Checks of what machines share, what they reach, and who reaches them."""

from collections.abc import Iterator

from brainseg.doctor.collect import DRIVER, Evidence
from brainseg.doctor.findings import INSTALL, Finding, among, by_value, values_by_node
from brainseg.doctor.open_ports import Port


def check_services(evidence: Evidence) -> Iterator[Finding]:
    yield from _storage(evidence)
    yield from _data(evidence)
    yield _wandb(evidence)
    yield from _hub(evidence)
    yield from _ports(evidence)
    yield from _dashboard(evidence)


def _storage(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.storage:
        if evidence.cluster and len(evidence.nodes) > 1:
            what = "not checked: do all nodes share the folder for results?"
            yield Finding(level="note", topic="storage", seen=what, remedy="add --storage FOLDER")
        return
    for why, labels in by_value(evidence.unshared).items():
        where = DRIVER if labels == [DRIVER] else among(labels, evidence)
        yield Finding(
            level="problem",
            topic="storage",
            seen=f"{evidence.storage}: {where} {why}",
            remedy="mount the same folder at this path on every node (NFS, EFS), writable for the "
            "user that runs Ray"
            if evidence.cluster
            else "name a folder that you may write to",
        )
    if not evidence.unshared:
        what = "written and read" + (
            f" by {among(evidence.nodes, evidence)}" if evidence.cluster else ""
        )
        yield Finding(level="ok", topic="storage", seen=f"{evidence.storage}: {what}")


def _data(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.data:
        return
    absent = {label: why for label, (_, why) in evidence.counts.items() if why}
    for why, labels in by_value(absent).items():
        yield Finding(
            level="problem",
            topic="data",
            seen=f"{evidence.data} cannot be read on {among(labels, evidence)}: {why}",
            remedy="copy the data to the same path on every node, or name an address that all "
            "can read, such as s3://bucket/folder"
            if evidence.cluster
            else "correct --data",
        )
    counts = {label: f"{count} files" for label, (count, why) in evidence.counts.items() if not why}
    if len(set(counts.values())) > 1:
        yield Finding(
            level="problem",
            topic="data",
            seen=f"{evidence.data} differs: {values_by_node(counts, evidence)}",
            remedy="copy it again where files are missing",
        )
    elif counts and not absent:
        where = f" on {among(evidence.nodes, evidence)}" if len(counts) > 1 else ""
        what = f"{evidence.data}: {next(iter(counts.values()))}{where}; `brainseg check` reads them"
        yield Finding(level="ok", topic="data", seen=what)


def _wandb(evidence: Evidence) -> Finding:
    """Runs go online if there is a key; only the driver talks to the server."""
    server = evidence.tracker.server
    if evidence.tracker.error:
        return Finding(
            level="problem",
            topic="W&B",
            seen=f"the wandb package cannot be used ({evidence.tracker.error}): no sweep can start",
            remedy=INSTALL,
        )
    if evidence.tracker.refusal:
        seen, _, remedy = evidence.tracker.refusal.partition("; ")
        return Finding(level="problem", topic="W&B", seen=seen, remedy=remedy)
    if not evidence.tracker.key:
        answers = "answers" if evidence.tracker.reachable else "does not answer"
        return Finding(
            level="note",
            topic="W&B",
            seen=f"no key, or offline mode is set: runs are kept in the storage folder; {server} "
            f"{answers}",
            remedy="run `brainseg wandb sync RUN` later; for live curves `wandb login`, or export "
            "WANDB_API_KEY",
        )
    if not evidence.tracker.reachable:
        return Finding(
            level="note",
            topic="W&B",
            seen=f"there is a key, but {server} does not answer: live curves will be missing",
            remedy="run `brainseg wandb sync RUN` later; or fix the network, proxy or "
            "WANDB_BASE_URL",
        )
    return Finding(level="ok", topic="W&B", seen=f"online: a key is there, {server} answers")


def _hub(evidence: Evidence) -> Iterator[Finding]:
    states = {}
    for label, facts in evidence.nodes.items():
        chosen = "HF_HUB_OFFLINE is set" if facts.hub_offline else f"{facts.hub} does not answer"
        states[label] = "" if facts.hub_reachable else chosen
    for state, labels in by_value(states).items():
        if state:
            yield Finding(
                level="note",
                topic="hub",
                seen=f"{state} on {among(labels, evidence)}: no weights can be downloaded there",
                remedy="run `brainseg weights fetch ENCODER` where the hub answers, with HF_HOME "
                "on a folder that all share; or use --weights FILE or none",
            )
        elif len(labels) == len(states):
            what = f"{evidence.driver.hub} answers: pretrained weights can be downloaded"
            yield Finding(level="ok", topic="hub", seen=what)


def _ports(evidence: Evidence) -> Iterator[Finding]:
    """Ray runs code for anybody who reaches it, unless it asks for a token."""
    bare = _open_ports(evidence, token=False)
    guarded = _open_ports(evidence, token=True)
    for ports, labels in by_value({k: _listed(ports) for k, ports in bare.items()}).items():
        yield Finding(
            level="problem",
            topic="ports",
            seen=f"Ray on {among(labels, evidence)} runs code, as its user, for anybody who "
            f"reaches {ports}",
            remedy="run `ray get-auth-token --generate`, copy ~/.ray/auth_token to all nodes, and "
            "export RAY_AUTH_MODE=token before `ray start`; also put a firewall around the cluster",
        )
    for ports, labels in by_value({k: _listed(ports) for k, ports in guarded.items()}).items():
        yield Finding(
            level="note",
            topic="ports",
            seen=f"Ray on {among(labels, evidence)} answers other machines at {ports}; it asks "
            "for a token, which is sent unencrypted unless RAY_USE_TLS=1",
            remedy="keep them inside the cluster's own network",
        )
    if bare and guarded:
        yield Finding(
            level="note",
            topic="ports",
            seen=f"some of Ray's processes ask for a token (on {among(guarded, evidence)}), some "
            f"do not (on {among(bare, evidence)})",
            remedy="if they belong to one cluster, export the same RAY_AUTH_MODE on every node and "
            "in every shell, then restart Ray",
        )
    if not bare and not guarded:
        yield Finding(level="ok", topic="ports", seen="no port of Ray is open to other machines")


def _dashboard(evidence: Evidence) -> Iterator[Finding]:
    bare = _open_ports(evidence, token=False)
    if pages := [k for k, ports in bare.items() if any(p.process == "dashboard" for p in ports)]:
        yield Finding(
            level="problem",
            topic="dashboard",
            seen=f"open to other machines without a token on {among(pages, evidence)}: it accepts "
            "jobs",
            remedy="leave --dashboard-host at 127.0.0.1, and use `ray dashboard` or "
            "ssh -L 8265:localhost:8265",
        )


def _open_ports(evidence: Evidence, *, token: bool) -> dict[str, list[Port]]:
    """By node, the ports that ask for a token or do not; ports of metrics run no code."""
    ports_by_node = {
        label: [p for p in facts.ports if p.token == token and p.process != "metrics"]
        for label, facts in evidence.nodes.items()
    }
    return {label: ports for label, ports in ports_by_node.items() if ports}


def _listed(ports: list[Port]) -> str:
    """`head (GCS) 6379, raylet 2 ports`: a number where there is one, else how many."""
    parts = []
    for process in dict.fromkeys(port.process for port in ports):
        numbers = [port.port for port in ports if port.process == process]
        what = f"{numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} ports"
        parts.append(f"{process} {what}")
    return ", ".join(parts)
