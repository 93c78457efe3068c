"""What a doctor collected of nodes that are well, to be changed, and the findings that follow."""

from brainseg.doctor.collect import Evidence, Tracker
from brainseg.doctor.diagnose import diagnose
from brainseg.doctor.findings import Finding
from brainseg.doctor.machine import PACKAGES, MachineFacts

FINE = MachineFacts(
    host="a",
    python="3.11.7",
    packages={**dict.fromkeys(PACKAGES, "1.0"), "torch": "2.14.1"},
    code="ab12",
    albumentations=["albumentations 2.0.8"],
    cuda_build="13.0",
    torch_gpus=["NVIDIA L4"],
    gpus=["NVIDIA L4, 23034 MiB"],
    gpu_driver="580.65.06",
    cpus=8,
    cache="/cache",
    cache_free=500e9,
    shm=8e9,
    open_files=65536,
    addresses=["10.0.0.1"],
    hub="https://huggingface.co",
    hub_reachable=True,
)


ONLINE = Tracker(key=True, server="https://api.wandb.ai", reachable=True)


def cluster(*nodes: MachineFacts) -> Evidence:
    """Nodes a, b, ... at addresses of their own; the driver is as the first of the fine ones."""
    labels = "abcdefgh"[: len(nodes)]
    return Evidence(
        driver=FINE,
        nodes=dict(zip(labels, nodes, strict=True)),
        tracker=ONLINE,
        cluster="10.0.0.1:6379",
        ips={label: f"10.0.0.{at + 1}" for at, label in enumerate(labels)},
        counted_gpus={k: float(len(n.gpus)) for k, n in zip(labels, nodes, strict=True)},
        storage="/shared",
    )


def alone(facts: MachineFacts) -> Evidence:
    return Evidence(driver=facts, nodes={"a": facts}, tracker=ONLINE)


def problems(evidence: Evidence) -> list[Finding]:
    return [finding for finding in diagnose(evidence) if finding.level == "problem"]


def only_problem(evidence: Evidence) -> Finding:
    (finding,) = problems(evidence)
    assert finding.remedy
    return finding


def notes(evidence: Evidence, topic: str) -> str:
    findings = [
        finding
        for finding in diagnose(evidence)
        if (finding.level, finding.topic) == ("note", topic)
    ]
    return " ".join(f"{finding.seen} {finding.remedy}" for finding in findings)
