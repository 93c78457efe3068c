"""Checks of the machines: GPUs, disks, limits, names, clocks."""

from collections.abc import Iterator

from brainseg.doctor.collect import Evidence
from brainseg.doctor.findings import Finding, among, by_value, gigabytes, values_by_node

TIGHT_DISK, FULL_DISK = 10e9, 1e9  # bytes; a data set at 256 pixels packs into about 1 GB
TIGHT_SHM = 1e9  # containers start with 64 MB; Ray's object store and NCCL live there
FEW_FILES = 4096  # Ray's own advice is 65536
CLOCK_NOTE_SECONDS, CLOCK_PROBLEM_SECONDS = 2.0, 60.0


def check_machines(evidence: Evidence) -> Iterator[Finding]:
    for label, why in evidence.failed.items():
        yield Finding(
            level="problem",
            topic="nodes",
            seen=f"{label} cannot run brainseg: {why}",
            remedy="install it there (pip install -c constraints.txt -e .), for the Python that "
            "starts Ray; see that node's log if it gave no answer",
        )
    yield from _devices(evidence)
    yield from _disks(evidence)
    yield from _limits(evidence)
    yield from _names(evidence)
    yield from _clocks(evidence)
    missing = {
        label: "; ".join(f"{name} ({why})" for name, why in facts.missing.items())
        for label, facts in evidence.nodes.items()
    }
    for what, labels in by_value(missing).items():
        if what:
            where = among(labels, evidence)
            yield Finding(
                level="note", topic="nodes", seen=f"could not be checked on {where}: {what}"
            )


def _devices(evidence: Evidence) -> Iterator[Finding]:
    """GPUs: whether there are any, whether torch can use them, whether Ray counts them."""
    faults = list(_gpu_faults(evidence))
    yield from faults
    kinds = {
        label: _inventory(facts.gpus or facts.torch_gpus) for label, facts in evidence.nodes.items()
    }
    with_gpus = {label: kind for label, kind in kinds.items() if kind}
    without = [label for label in kinds if label not in with_gpus]
    if not with_gpus:
        cpus = sum(facts.cpus for facts in evidence.nodes.values())
        yield Finding(
            level="note",
            topic="GPUs",
            seen=f"none on {among(evidence.nodes, evidence)}: trials train on {cpus} CPUs",
            remedy="enough for a rehearsal (--smoke); `brainseg plan` says how long a sweep takes",
        )
        return
    if not faults:
        yield Finding(level="ok", topic="GPUs", seen=values_by_node(with_gpus, evidence))
    if without:
        yield Finding(
            level="note",
            topic="GPUs",
            seen=f"none on {among(without, evidence)}, though other nodes have some",
            remedy="expected on a head without GPUs; on a worker, run nvidia-smi there",
        )


def _inventory(gpus: list[str]) -> str:
    """`2 x NVIDIA L4`."""
    return " + ".join(f"{gpus.count(gpu)} x {gpu}" for gpu in dict.fromkeys(gpus))


def _gpu_faults(evidence: Evidence) -> Iterator[Finding]:
    for label, facts in evidence.nodes.items():
        where, there = among([label], evidence), len(facts.gpus)
        what = remedy = ""
        if facts.gpu_error:
            what = f"nvidia-smi fails on {where}: {facts.gpu_error}"
            remedy = "repair or install NVIDIA's driver; start a container with --gpus all"
        elif there and not facts.cuda_build and not facts.torch_error:
            what = f"torch on {where} is built for CPUs only: its {there} GPU(s) are not used"
            remedy = "install torch and torchvision built for CUDA, from PyTorch's index"
        elif there and not facts.torch_gpus and not facts.torch_error:
            what = f"torch cannot use the {there} GPU(s) of {where}: it is built for CUDA "
            what += f"{facts.cuda_build}, the driver is {facts.gpu_driver}"
            remedy = "update the driver (CUDA 13 needs 580 or newer, CUDA 12 525 or newer), or "
            remedy += "install torch for an older CUDA; or check CUDA_VISIBLE_DEVICES"
        if what:
            yield Finding(level="problem", topic="GPUs", seen=what, remedy=remedy)
        counted = evidence.counted_gpus.get(label, there)
        if counted != there and facts.gpus:
            yield Finding(
                level="note",
                topic="GPUs",
                seen=f"Ray counts {counted:g} GPU(s) of the {there} on {where}",
                remedy="to use all of them, run `ray stop` there, then `ray start` with "
                f"--num-gpus {there}",
            )


def _disks(evidence: Evidence) -> Iterator[Finding]:
    fine = True
    if not evidence.cluster and (problem := evidence.driver.ray_problem):
        seen, _, remedy = problem.partition("; ")
        yield Finding(level="problem", topic="disk", seen=seen, remedy=remedy)
    for label, facts in evidence.nodes.items():
        places = {f"the cache ({facts.cache}; $BRAINSEG_CACHE moves it)": facts.cache_free}
        places |= (
            {f"the storage ({evidence.storage})": facts.storage_free} if evidence.storage else {}
        )
        for place, free in places.items():
            if free is not None and free < TIGHT_DISK:
                fine = False
                yield Finding(
                    level="problem" if free < FULL_DISK else "note",
                    topic="disk",
                    seen=f"{gigabytes(free)} free on {among([label], evidence)} for {place}",
                    remedy="free space, or use another disk; `brainseg plan` estimates what "
                    "checkpoints need",
                )
    known = [facts.cache_free for facts in evidence.nodes.values() if facts.cache_free is not None]
    if fine and known:
        least = f"{'at least ' * (len(known) > 1)}{gigabytes(min(known))}"
        yield Finding(level="ok", topic="disk", seen=f"{least} free for the cache")


def _limits(evidence: Evidence) -> Iterator[Finding]:
    shm = {k: f.shm for k, f in evidence.nodes.items() if f.shm is not None and f.shm < TIGHT_SHM}
    if shm:
        several = any(len(evidence.nodes[label].gpus) > 1 for label in shm)
        yield Finding(
            level="problem" if several else "note",
            topic="memory",
            seen=f"/dev/shm has {gigabytes(min(shm.values()))} on {among(shm, evidence)}: Ray "
            "falls back to a disk, and NCCL between GPUs may fail",
            remedy="start the container with --shm-size=8g",
        )
    few = [k for k, f in evidence.nodes.items() if f.open_files and 0 < f.open_files < FEW_FILES]
    if few:
        least = min(evidence.nodes[label].open_files or 0 for label in few)
        yield Finding(
            level="note",
            topic="limits",
            seen=f"a process may open {least} files at once on {among(few, evidence)}: too few "
            "for many trials",
            remedy="ulimit -n 65536 in the shell that starts Ray or the sweep",
        )
    single = [label for label, facts in evidence.nodes.items() if facts.omp_threads == "1"]
    if single and (len(single) < len(evidence.nodes) or evidence.cluster):
        yield Finding(
            level="note",
            topic="limits",
            seen=f"OMP_NUM_THREADS is 1 on {among(single, evidence)}, as `ray up` sets it",
            remedy="none needed: trials set their own number of threads, other programs use one",
        )


def _names(evidence: Evidence) -> Iterator[Finding]:
    """Between nodes, gloo listens at the address that the machine's host name resolves to."""
    if len(set(evidence.ips.values())) < 2:
        return
    away = [
        label
        for label, facts in evidence.nodes.items()
        if not facts.gloo_interface
        and evidence.ips[label] not in facts.addresses
        and all(_is_loopback(address) for address in facts.addresses)
    ]
    if away:
        yield Finding(
            level="problem",
            topic="names",
            seen=f"the host name of {among(away, evidence)} resolves to a loopback address, or "
            "not at all: workers of a trial on several nodes cannot connect (gloo)",
            remedy="map the name to the network address in /etc/hosts there, or export "
            "GLOO_SOCKET_IFNAME=eth0 (see `ip addr`) before Ray starts",
        )
    else:
        yield Finding(
            level="ok", topic="names", seen="every node's host name is one that others reach"
        )


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _clocks(evidence: Evidence) -> Iterator[Finding]:
    for label, ahead in evidence.clocks.items():
        if abs(ahead) > CLOCK_NOTE_SECONDS:
            way = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                level="problem" if abs(ahead) > CLOCK_PROBLEM_SECONDS else "note",
                topic="clocks",
                seen=f"the clock of {label} is {abs(ahead):.0f} s {way} the driver's: times in "
                "records are wrong, and S3 refuses requests from 15 minutes on",
                remedy="synchronise it with chrony or systemd-timesyncd",
            )
