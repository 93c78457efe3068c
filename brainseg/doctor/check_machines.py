"""Whether the machines serve: GPUs, disks, limits, names, clocks."""

from collections.abc import Iterator

from brainseg.doctor.collect import Seen
from brainseg.doctor.findings import Finding, among, by_value, gigabytes, told_apart

TIGHT_DISK, FULL_DISK = 10e9, 1e9  # bytes; a data set at 256 pixels packs into about 1 GB
TIGHT_SHM = 1e9  # containers begin with 64 MB; Ray's object store and NCCL live there
FEW_FILES = 4096  # Ray's own advice is 65536
CLOCK_NOTE_SECONDS, CLOCK_PROBLEM_SECONDS = 2.0, 60.0


def machines(seen: Seen) -> Iterator[Finding]:
    for label, why in seen.failed.items():
        yield Finding(
            level="problem",
            topic="nodes",
            seen=f"{label} cannot run brainseg: {why}",
            remedy="install it there (pip install -c constraints.txt -e .), for the Python that "
            "starts Ray; see that node's log if it gave no answer",
        )
    yield from _devices(seen)
    yield from _disks(seen)
    yield from _limits(seen)
    yield from _names(seen)
    yield from _clocks(seen)
    missing = {
        label: "; ".join(f"{name} ({why})" for name, why in facts.missing.items())
        for label, facts in seen.nodes.items()
    }
    for what, labels in by_value(missing).items():
        if what:
            where = among(labels, seen)
            yield Finding(level="note", topic="nodes", seen=f"not found out on {where}: {what}")


def _devices(seen: Seen) -> Iterator[Finding]:
    """GPUs: there at all, seen by torch, seen by Ray."""
    faults = list(_gpu_faults(seen))
    yield from faults
    kinds = {
        label: _inventory(facts.gpus or facts.torch_gpus) for label, facts in seen.nodes.items()
    }
    with_gpus = {label: kind for label, kind in kinds.items() if kind}
    without = [label for label in kinds if label not in with_gpus]
    if not with_gpus:
        cpus = sum(facts.cpus for facts in seen.nodes.values())
        yield Finding(
            level="note",
            topic="GPUs",
            seen=f"none on {among(seen.nodes, seen)}: trials train on {cpus} CPUs",
            remedy="enough for a rehearsal (--smoke); `brainseg plan` says how long a sweep takes",
        )
        return
    if not faults:
        yield Finding(level="ok", topic="GPUs", seen=told_apart(with_gpus, seen))
    if without:
        yield Finding(
            level="note",
            topic="GPUs",
            seen=f"none on {among(without, seen)}, which others have",
            remedy="as it should be on a head without; on a worker run nvidia-smi there",
        )


def _inventory(gpus: list[str]) -> str:
    """`2 x NVIDIA L4`."""
    return " + ".join(f"{gpus.count(gpu)} x {gpu}" for gpu in dict.fromkeys(gpus))


def _gpu_faults(seen: Seen) -> Iterator[Finding]:
    for label, facts in seen.nodes.items():
        where, there = among([label], seen), len(facts.gpus)
        what = remedy = ""
        if facts.gpu_error:
            what = f"nvidia-smi fails on {where}: {facts.gpu_error}"
            remedy = "mend or install NVIDIA's driver; in a container start it with --gpus all"
        elif there and not facts.cuda_build and not facts.torch_error:
            what = f"torch is a build for CPUs alone on {where}, with {there} GPU(s): they idle"
            remedy = "install torch and torchvision built for CUDA, from PyTorch's index"
        elif there and not facts.torch_gpus and not facts.torch_error:
            what = f"torch cannot use the {there} GPU(s) of {where}: it is built for CUDA "
            what += f"{facts.cuda_build}, the driver is {facts.gpu_driver}"
            remedy = "update the driver (CUDA 13 needs 580 or newer, CUDA 12 525 or newer), or "
            remedy += "install torch for an older CUDA; else see CUDA_VISIBLE_DEVICES"
        if what:
            yield Finding(level="problem", topic="GPUs", seen=what, remedy=remedy)
        counted = seen.counted_gpus.get(label, there)
        if counted != there and facts.gpus:
            yield Finding(
                level="note",
                topic="GPUs",
                seen=f"Ray counts {counted:g} GPU(s) of the {there} on {where}",
                remedy="if all are meant, `ray stop` there and `ray start` with --num-gpus "
                f"{there}",
            )


def _disks(seen: Seen) -> Iterator[Finding]:
    fine = True
    for label, facts in seen.nodes.items():
        places = {f"the cache ({facts.cache}; $BRAINSEG_CACHE moves it)": facts.cache_free}
        places |= {f"the storage ({seen.storage})": facts.storage_free} if seen.storage else {}
        for place, free in places.items():
            if free is not None and free < TIGHT_DISK:
                fine = False
                yield Finding(
                    level="problem" if free < FULL_DISK else "note",
                    topic="disk",
                    seen=f"{gigabytes(free)} free on {among([label], seen)} for {place}",
                    remedy="free some, or name another disk; `brainseg plan` says what "
                    "checkpoints take",
                )
    known = [facts.cache_free for facts in seen.nodes.values() if facts.cache_free is not None]
    if fine and known:
        least = f"{gigabytes(min(known))} free for the cache"
        yield Finding(level="ok", topic="disk", seen=f"{least}{' at the least' * (len(known) > 1)}")


def _limits(seen: Seen) -> Iterator[Finding]:
    shm = {k: f.shm for k, f in seen.nodes.items() if f.shm is not None and f.shm < TIGHT_SHM}
    if shm:
        several = any(len(seen.nodes[label].gpus) > 1 for label in shm)
        yield Finding(
            level="problem" if several else "note",
            topic="memory",
            seen=f"/dev/shm has {gigabytes(min(shm.values()))} on {among(shm, seen)}: Ray falls "
            "back to a disk, and NCCL between GPUs may fail",
            remedy="start the container with --shm-size=8g",
        )
    few = [k for k, f in seen.nodes.items() if f.open_files and 0 < f.open_files < FEW_FILES]
    if few:
        least = min(seen.nodes[label].open_files or 0 for label in few)
        yield Finding(
            level="note",
            topic="limits",
            seen=f"a process may hold {least} files open on {among(few, seen)}, too few for many "
            "trials",
            remedy="ulimit -n 65536 in the shell that starts Ray or the sweep",
        )
    single = [label for label, facts in seen.nodes.items() if facts.omp_threads == "1"]
    if single and (len(single) < len(seen.nodes) or seen.cluster):
        yield Finding(
            level="note",
            topic="limits",
            seen=f"OMP_NUM_THREADS is 1 on {among(single, seen)}, as `ray up` sets it",
            remedy="nothing: trials set their own number of threads; what else runs there uses one",
        )


def _names(seen: Seen) -> Iterator[Finding]:
    """Between nodes, gloo answers at the address of the machine's own name."""
    if len(set(seen.ips.values())) < 2:
        return
    away = [
        label
        for label, facts in seen.nodes.items()
        if not facts.gloo_interface
        and seen.ips[label] not in facts.addresses
        and all(_is_loopback(address) for address in facts.addresses)
    ]
    if away:
        yield Finding(
            level="problem",
            topic="names",
            seen=f"the own name of {among(away, seen)} stands for a loopback address or none: "
            "workers of one trial on several nodes will not find each other (gloo)",
            remedy="give the name its network address in /etc/hosts there, or export "
            "GLOO_SOCKET_IFNAME=eth0 (see `ip addr`) before Ray starts",
        )
    else:
        yield Finding(
            level="ok", topic="names", seen="every node's name is an address others reach"
        )


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _clocks(seen: Seen) -> Iterator[Finding]:
    for label, ahead in seen.clocks.items():
        if abs(ahead) > CLOCK_NOTE_SECONDS:
            way = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                level="problem" if abs(ahead) > CLOCK_PROBLEM_SECONDS else "note",
                topic="clocks",
                seen=f"the clock of {label} is {abs(ahead):.0f} s {way} the driver's: times in "
                "records mislead, and S3 refuses from 15 minutes on",
                remedy="let chrony or systemd-timesyncd set it",
            )
