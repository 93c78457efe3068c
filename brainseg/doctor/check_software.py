"""Checks of the software: versions, licence, and whether it is the same on every node."""

from collections.abc import Iterator, Mapping

from brainseg.doctor.collect import DRIVER, Evidence
from brainseg.doctor.findings import INSTALL, Finding, among, by_value, values_by_node
from brainseg.doctor.machine import MachineFacts

# What every node runs; only the driver uses the rest.
SHARED = ("ray", "torch", "torchvision", "segmentation-models-pytorch", "timm", "albumentations")
MIT = "albumentations 2.0.8"  # its last release under that licence


def check_software(evidence: Evidence) -> Iterator[Finding]:
    yield from _versions(evidence)
    yield from _code(evidence)
    yield from _licence(evidence)
    yield from _torch(evidence)


def _versions(evidence: Evidence) -> Iterator[Finding]:
    """Python and packages of the nodes, and of the driver where they differ."""
    everyone = {**evidence.nodes, DRIVER: evidence.driver} if evidence.cluster else evidence.nodes
    faults = [*_pythons(evidence, everyone), *_packages(evidence, everyone)]
    yield from faults
    if not faults and evidence.driver.packages:
        yield Finding(level="ok", topic="versions", seen=_in_short(evidence))


def _pythons(evidence: Evidence, everyone: Mapping[str, MachineFacts]) -> Iterator[Finding]:
    pythons = {label: facts.python for label, facts in everyone.items()}
    if len(set(pythons.values())) > 1:
        minors = {text.rpartition(".")[0] for text in pythons.values()}
        yield Finding(
            level="problem" if len(minors) > 1 else "note",
            topic="versions",
            seen=f"Python differs: {values_by_node(pythons, evidence)}",
            remedy="use one Python version on all nodes: Ray sends code between them as bytecode",
        )


def _packages(evidence: Evidence, everyone: Mapping[str, MachineFacts]) -> Iterator[Finding]:
    for name in evidence.driver.packages:
        versions = {label: facts.packages.get(name, "") for label, facts in everyone.items()}
        absent = [label for label, version in versions.items() if not version]
        if absent and (name in SHARED or DRIVER in absent or not evidence.cluster):
            what = f"{name} is not installed on {among(absent, evidence)}"
            yield Finding(level="problem", topic="versions", seen=what, remedy=INSTALL)
        elif len(set(versions.values())) > 1:
            yield Finding(
                level="problem" if name in SHARED else "note",
                topic="versions",
                seen=f"{name} differs: {values_by_node(versions, evidence)}",
                remedy=f"install the same version on all nodes: {INSTALL}",
            )


def _in_short(evidence: Evidence) -> str:
    driver = evidence.driver
    shown = ", ".join(
        f"{name} {driver.packages.get(name)}" for name in ("ray", "torch", "torchvision")
    )
    same = f", the same on {among(evidence.nodes, evidence)}" if len(evidence.nodes) > 1 else ""
    return f"Python {driver.python}, {shown}{same}"


def _code(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.cluster:
        return
    everyone = {**evidence.nodes, DRIVER: evidence.driver}
    codes = {label: facts.code for label, facts in everyone.items()}
    if len(set(codes.values())) > 1:
        yield Finding(
            level="problem",
            topic="brainseg",
            seen=f"its files differ, by hash: {values_by_node(codes, evidence)}",
            remedy="copy the same files to all nodes, as `ray up` does, or `git pull` on each; "
            "then restart Ray there",
        )
    else:
        yield Finding(level="ok", topic="brainseg", seen="the same files on all nodes")


def _licence(evidence: Evidence) -> Iterator[Finding]:
    """The import name albumentations belongs to an MIT and to an AGPL distribution."""
    provided = {
        label: " and ".join(facts.albumentations) for label, facts in evidence.nodes.items()
    }
    for text, labels in by_value(provided).items():
        names = [name.partition(" ")[0].lower() for name in text.split(" and ")]
        if names == ["albumentations"] and text == MIT:
            yield Finding(level="ok", topic="licence", seen=f"{MIT}, MIT")
        elif names == ["albumentations"]:
            yield Finding(
                level="note",
                topic="licence",
                seen=f"{text} on {among(labels, evidence)}",
                remedy=f"brainseg was tested with {MIT}, the last under MIT: {INSTALL}",
            )
        elif text:
            yield Finding(
                level="problem",
                topic="licence",
                seen=f"`import albumentations` is {text} on {among(labels, evidence)}; "
                "AlbumentationsX, under the same name, is AGPL",
                remedy="pip uninstall -y albumentationsx albumentations; then "
                "pip install albumentations==2.0.8",
            )


def _torch(evidence: Evidence) -> Iterator[Finding]:
    errors = {label: facts.torch_error for label, facts in evidence.nodes.items()}
    for error, labels in by_value(errors).items():
        if error:
            yield Finding(
                level="problem",
                topic="torch",
                seen=f"torch or torchvision fails on {among(labels, evidence)}: {error}",
                remedy=f"install both from one release and one build: {INSTALL}; the build must "
                "also support the architecture of the GPU",
            )
