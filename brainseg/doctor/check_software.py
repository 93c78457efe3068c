"""Whether the software fits: itself, its licence, and the same on every node."""

from collections.abc import Iterator, Mapping

from brainseg.doctor.collect import DRIVER, Seen
from brainseg.doctor.findings import INSTALL, Finding, among, by_value, told_apart
from brainseg.doctor.machine import Facts

# What every node runs and exchanges; the rest is used by the driver alone.
SHARED = ("ray", "torch", "torchvision", "segmentation-models-pytorch", "timm", "albumentations")
MIT = "albumentations 2.0.8"  # its last release under that licence


def software(seen: Seen) -> Iterator[Finding]:
    yield from _versions(seen)
    yield from _code(seen)
    yield from _licence(seen)
    yield from _torch(seen)


def _versions(seen: Seen) -> Iterator[Finding]:
    """Python and packages of the nodes, and of the driver where they differ."""
    everyone = {**seen.nodes, DRIVER: seen.driver} if seen.cluster else seen.nodes
    faults = [*_pythons(seen, everyone), *_packages(seen, everyone)]
    yield from faults
    if not faults and seen.driver.packages:
        yield Finding(level="ok", topic="versions", seen=_in_short(seen))


def _pythons(seen: Seen, everyone: Mapping[str, Facts]) -> Iterator[Finding]:
    pythons = {label: facts.python for label, facts in everyone.items()}
    if len(set(pythons.values())) > 1:
        minors = {text.rpartition(".")[0] for text in pythons.values()}
        yield Finding(
            level="problem" if len(minors) > 1 else "note",
            topic="versions",
            seen=f"Python differs: {told_apart(pythons, seen)}",
            remedy="use one Python on all: Ray moves code between nodes as bytecode",
        )


def _packages(seen: Seen, everyone: Mapping[str, Facts]) -> Iterator[Finding]:
    for name in seen.driver.packages:
        versions = {label: facts.packages.get(name, "") for label, facts in everyone.items()}
        absent = [label for label, version in versions.items() if not version]
        if absent and (name in SHARED or DRIVER in absent or not seen.cluster):
            what = f"{name} is not installed on {among(absent, seen)}"
            yield Finding(level="problem", topic="versions", seen=what, remedy=INSTALL)
        elif len(set(versions.values())) > 1:
            yield Finding(
                level="problem" if name in SHARED else "note",
                topic="versions",
                seen=f"{name} differs: {told_apart(versions, seen)}",
                remedy=f"install the same on all: {INSTALL}",
            )


def _in_short(seen: Seen) -> str:
    own = seen.driver
    shown = ", ".join(
        f"{name} {own.packages.get(name)}" for name in ("ray", "torch", "torchvision")
    )
    same = f", the same on {among(seen.nodes, seen)}" if len(seen.nodes) > 1 else ""
    return f"Python {own.python}, {shown}{same}"


def _code(seen: Seen) -> Iterator[Finding]:
    if not seen.cluster:
        return
    everyone = {**seen.nodes, DRIVER: seen.driver}
    codes = {label: facts.code for label, facts in everyone.items()}
    if len(set(codes.values())) > 1:
        yield Finding(
            level="problem",
            topic="brainseg",
            seen=f"its files differ, by hash: {told_apart(codes, seen)}",
            remedy="bring the same files to all, as `ray up` does, or `git pull` on each; then "
            "restart Ray there",
        )
    else:
        yield Finding(level="ok", topic="brainseg", seen="the same files on all")


def _licence(seen: Seen) -> Iterator[Finding]:
    """The import name albumentations belongs to an MIT and to an AGPL distribution."""
    provided = {label: " and ".join(facts.albumentations) for label, facts in seen.nodes.items()}
    for text, labels in by_value(provided).items():
        names = [one.partition(" ")[0].lower() for one in text.split(" and ")]
        if names == ["albumentations"] and text == MIT:
            yield Finding(level="ok", topic="licence", seen=f"{MIT}, MIT")
        elif names == ["albumentations"]:
            yield Finding(
                level="note",
                topic="licence",
                seen=f"{text} on {among(labels, seen)}",
                remedy=f"brainseg was tested with {MIT}, the last under MIT: {INSTALL}",
            )
        elif text:
            yield Finding(
                level="problem",
                topic="licence",
                seen=f"`import albumentations` is {text} on {among(labels, seen)}; "
                "AlbumentationsX, under the same name, is AGPL",
                remedy="pip uninstall -y albumentationsx albumentations; then "
                "pip install albumentations==2.0.8",
            )


def _torch(seen: Seen) -> Iterator[Finding]:
    errors = {label: facts.torch_error for label, facts in seen.nodes.items()}
    for error, labels in by_value(errors).items():
        if error:
            yield Finding(
                level="problem",
                topic="torch",
                seen=f"torch or torchvision fails on {among(labels, seen)}: {error}",
                remedy=f"the two must be of one release and one build: {INSTALL}; on a GPU, the "
                "build must also know its architecture",
            )
