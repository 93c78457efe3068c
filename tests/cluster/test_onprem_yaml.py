"""What must hold for cluster/onprem.yaml before it meets a machine, all of it offline."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "onprem.yaml").read_text()

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    return yaml.safe_load(TEXT)


def test_ray_accepts_it_and_keeps_all_workers_up(config: Config) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["min_workers"] == len(config["provider"]["worker_ips"]) == 1


def test_what_a_person_must_fill_in_is_named_at_the_top() -> None:
    header, _, body = TEXT.partition("\ncluster_name:")
    assert set(re.findall(r"FILL_IN_\w+", body)) == set(re.findall(r"FILL_IN_\w+", header))


def test_every_mounted_source_of_the_repository_exists_in_a_fresh_clone(config: Config) -> None:
    sources = [source for source in config["file_mounts"].values() if not source.startswith("~")]
    assert sources and all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("name", ["gpu.yaml", "onprem.yaml"])
def test_no_folder_in_the_home_hides_the_package(name: str) -> None:
    """`ray submit` runs the script from ~, and Python looks for packages there first."""
    config = yaml.safe_load((ROOT / "cluster" / name).read_text())
    tops = {target.removeprefix("~/").split("/")[0] for target in config["file_mounts"]}
    packages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert "brainseg" in packages and not tops & packages


def test_the_token_is_on_every_node_and_asked_for(config: Config) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    (exports,) = [line for line in config["setup_commands"] if ".bashrc" in line]
    assert "'export RAY_AUTH_MODE=token'" in exports
    assert "'export RAY_ADDRESS=auto'" in exports, "a script submitted here joins this cluster"


def test_ray_starts_with_all_cpus_a_dashboard_inside_and_the_autoscaler_that_counts_right(
    config: Config,
) -> None:
    (head,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    (worker,) = [line for line in config["worker_start_ray_commands"] if "ray start" in line]
    assert head.startswith("unset OMP_NUM_THREADS;") and worker.startswith("unset OMP_NUM_THREADS;")
    assert "--dashboard-host=127.0.0.1" in head
    assert "RAY_enable_autoscaler_v2=0 ray start" in head
