"""What must hold for `kubectl create -f cluster/kuberay.yaml`, all of it without a cluster.

With BRAINSEG_RAYJOB_CRD naming KubeRay's ray.io_rayjobs.yaml (in its repository below
helm-chart/kuberay-operator/crds) every field is held against the schema, misspelt ones included.
"""

import copy
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "kuberay.yaml").read_text()
DOCKERFILE = (ROOT / "cluster" / "Dockerfile").read_text()
CRD = os.environ.get("BRAINSEG_RAYJOB_CRD")

Fields = dict[str, Any]


@pytest.fixture
def job() -> Fields:
    return yaml.safe_load(TEXT)


@pytest.fixture
def cluster(job: Fields) -> Fields:
    return job["spec"]["rayClusterSpec"]


def groups(cluster: Fields) -> list[Fields]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(cluster: Fields) -> list[Fields]:
    return [group["template"]["spec"] for group in groups(cluster)]


def containers(cluster: Fields) -> list[Fields]:
    return [container for pod in pods(cluster) for container in pod["containers"]]


def ray_version() -> str:
    (version,) = re.findall(r"(?m)^ray==(.+)$", (ROOT / "constraints.txt").read_text())
    return version


def test_it_is_a_ray_job_whose_name_leaves_room_for_those_of_its_pods(job: Fields) -> None:
    """KubeRay refuses names above 47 characters; five are added to a generated one."""
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert len(job["metadata"]["generateName"]) + 5 <= 47


def test_file_image_and_constraints_name_one_version_of_ray(cluster: Fields) -> None:
    assert cluster["rayVersion"] == ray_version()
    assert f"FROM rayproject/ray:{ray_version()}-" in DOCKERFILE


def test_the_image_installs_the_tested_set(job: Fields) -> None:
    assert "pip install --no-cache-dir -c constraints.txt" in DOCKERFILE
    sources = re.findall(r"(?m)^COPY --chown=\S+ (.+) \S+$", DOCKERFILE)
    assert all((ROOT / source).exists() for line in sources for source in line.split())
    assert "WORKDIR /home/ray/brainseg\n" in DOCKERFILE
    assert "/home/ray/brainseg/sweeps/encoders.py" in job["spec"]["entrypoint"]


def test_an_idle_cluster_has_no_gpu_and_a_finished_one_is_gone(
    job: Fields, cluster: Fields
) -> None:
    head, worker = containers(cluster)
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (gpu,) = cluster["workerGroupSpecs"]
    assert gpu["minReplicas"] == gpu["replicas"] == 0 < gpu["maxReplicas"]
    assert f"--gpus-per-worker 1 --concurrent {gpu['maxReplicas']}" in job["spec"]["entrypoint"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] > 0
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_requests_are_limits_since_ray_plans_with_the_limits(cluster: Fields) -> None:
    for container in containers(cluster):
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()


def test_data_and_results_lie_on_one_volume_at_one_path_in_every_pod(
    job: Fields, cluster: Fields
) -> None:
    for pod in pods(cluster):
        claims = {
            v["name"]: v["persistentVolumeClaim"]
            for v in pod["volumes"]
            if len(v) == 2 and "persistentVolumeClaim" in v
        }
        (mount,) = [m for c in pod["containers"] for m in c["volumeMounts"] if m["name"] in claims]
        assert claims[mount["name"]] == {"claimName": "brainseg"}
        for option in ("--data", "--storage"):
            assert f"{option} {mount['mountPath']}/" in job["spec"]["entrypoint"]


def test_every_mount_has_its_volume_and_shared_memory_is_memory(cluster: Fields) -> None:
    for pod in pods(cluster):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) == volumes.keys()
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert {"name": "BRAINSEG_CACHE", "value": "/cache"} in container["env"]
        assert "/cache" in mounts


def test_the_cluster_asks_for_a_token(cluster: Fields) -> None:
    """KubeRay has it since 1.5.1, for Ray from 2.52 on."""
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, ray_version().split("."))) >= (2, 52)


def test_the_key_of_wandb_comes_from_a_secret_and_only_to_the_head(cluster: Fields) -> None:
    head, worker = containers(cluster)
    (key,) = [entry for entry in head["env"] if entry["name"] == "WANDB_API_KEY"]
    assert "value" not in key
    assert key["valueFrom"]["secretKeyRef"]["optional"] is True
    assert "WANDB_API_KEY" not in {entry["name"] for entry in worker["env"]}


def test_a_job_that_is_stopped_may_end_in_good_order(job: Fields) -> None:
    """Ray kills an entrypoint three seconds after its SIGTERM unless configured otherwise."""
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    assert int(environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 300


def test_the_sweep_of_the_entrypoint_takes_these_options(job: Fields) -> None:
    python, script, *options = job["spec"]["entrypoint"].split()
    assert python == "python"
    assert (ROOT / "sweeps" / Path(script).name).is_file()
    folder = ROOT / "brainseg" / "cli" / "options"
    known = "".join(file.read_text() for file in folder.glob("*.py"))
    assert all(f'"{option}"' in known for option in options if option.startswith("--"))


def test_what_a_person_must_fill_in_is_named_at_the_top() -> None:
    header, _, body = TEXT.partition("\napiVersion:")
    assert set(re.findall(r"FILL_IN_\w+", body)) == set(re.findall(r"FILL_IN_\w+", header)) != set()


def closed(schema: Any) -> Any:
    """``schema`` with unknown fields refused, which Kubernetes drops without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: closed(value) for key, value in schema.items()}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and not free:
        strict["additionalProperties"] = False
    return strict


@pytest.fixture
def schema() -> Fields:
    if CRD is None:
        pytest.skip("BRAINSEG_RAYJOB_CRD names no file of KubeRay's ray.io_rayjobs.yaml")
    versions = yaml.safe_load(Path(CRD).read_text())["spec"]["versions"]
    (v1,) = [version for version in versions if version["name"] == "v1"]
    whole = closed(v1["schema"]["openAPIV3Schema"])
    whole["properties"]["metadata"] = {"type": "object"}
    return whole


def test_kuberays_schema_accepts_it(schema: Fields, job: Fields) -> None:
    assert not [error.message for error in Draft7Validator(schema).iter_errors(job)]


def test_kuberays_schema_would_refuse_a_typing_error(schema: Fields, job: Fields) -> None:
    wrong = copy.deepcopy(job)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 0
    wrong["spec"]["ttlSecondsAfterFinished"] = "10 minutes"
    paths = {error.json_path for error in Draft7Validator(schema).iter_errors(wrong)}
    assert paths == {"$.spec.rayClusterSpec.workerGroupSpecs[0]", "$.spec.ttlSecondsAfterFinished"}
