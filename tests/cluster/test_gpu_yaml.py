"""What must hold for `ray up cluster/gpu.yaml` before any money is spent, all of it offline."""

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.authentication import authentication_token_setup
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "gpu.yaml").read_text()
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}"
    r"|BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b[0-9a-f]{40}\b"
    r"|(?i:key|token|secret|password)\w*['\"]?\s*[:=]\s*['\"]?[\w/+-]{16,}"
)

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    return yaml.safe_load(TEXT)


@pytest.fixture
def prepared(config: Config) -> Config:
    """As `ray up` sees it: merged with Ray's defaults for AWS."""
    return prepare_config(copy.deepcopy(config))


def test_ray_accepts_it(prepared: Config) -> None:
    validate_config(prepared)


def test_ray_accepts_it_with_the_parts_for_googles_cloud(config: Config) -> None:
    (parts,) = re.findall(r"(?s)```yaml\n(.+?)```", (ROOT / "docs" / "cloud.md").read_text())
    google = prepare_config(config | yaml.safe_load(parts))
    validate_config(google)
    assert google["provider"]["type"] == "gcp"
    assert google["available_node_types"].keys() == {"head", "l4_spot"}


def test_ray_would_refuse_a_typing_error(prepared: Config) -> None:
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config(prepared | {"idle_timeout_minute": 10})


def test_every_node_type_states_its_cpus_and_gpus(config: Config) -> None:
    for node_type in config["available_node_types"].values():
        assert {"CPU", "GPU"} <= node_type["resources"].keys()


def test_every_node_type_names_its_image(config: Config) -> None:
    """Ray silently falls back to an Ubuntu 18.04 image."""
    assert all(t["node_config"]["ImageId"] for t in config["available_node_types"].values())


def test_the_head_is_alone_and_workers_fit_the_limit(prepared: Config) -> None:
    node_types = prepared["available_node_types"]
    assert node_types[prepared["head_node_type"]]["max_workers"] == 0
    assert sum(t["min_workers"] for t in node_types.values()) <= prepared["max_workers"]
    assert all(t["min_workers"] <= t["max_workers"] for t in node_types.values())


def test_workers_are_spot_until_the_switch_is_thrown_and_spot_comes_first_then(
    config: Config,
) -> None:
    types = config["available_node_types"]
    spot, on_demand = types["l4_spot"], types["l4"]
    assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (spot["max_workers"], on_demand["max_workers"]) == (config["max_workers"], 0)
    assert spot["priority"] > on_demand.get("priority", 0)
    market = {"InstanceMarketOptions": spot["node_config"]["InstanceMarketOptions"]}
    assert spot["node_config"] == on_demand["node_config"] | market
    assert spot["resources"] == on_demand["resources"]


def test_all_nodes_are_in_one_security_group_of_your_own(config: Config) -> None:
    groups = [t["node_config"]["SecurityGroupIds"] for t in config["available_node_types"].values()]
    assert groups == [["FILL_IN_GROUP"]] * len(groups)


def test_the_head_is_on_demand(config: Config) -> None:
    assert "InstanceMarketOptions" not in config["available_node_types"]["head"]["node_config"]


def test_every_disk_has_a_size_and_is_encrypted(config: Config) -> None:
    for node_type in config["available_node_types"].values():
        (disk,) = node_type["node_config"]["BlockDeviceMappings"]
        assert disk["Ebs"]["VolumeSize"] >= 100
        assert disk["Ebs"]["Encrypted"] is True


def test_an_idle_cluster_has_no_gpu(prepared: Config) -> None:
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert head["resources"]["GPU"] == 0
    assert all(t["min_workers"] == 0 for t in prepared["available_node_types"].values())


def test_every_mounted_source_exists_in_a_fresh_clone(config: Config) -> None:
    sources = [source for source in config["file_mounts"].values() if not source.startswith("~")]
    assert len(sources) == len(config["file_mounts"]) - 1  # all but the token
    assert all((ROOT / source).exists() for source in sources)


def test_every_node_is_given_the_token_and_told_to_ask_for_it(config: Config) -> None:
    """At the place where Ray looks by itself, so that no command needs to name it."""
    default = authentication_token_setup._get_default_token_path()
    (destination,) = [path for path, source in config["file_mounts"].items() if "token" in source]
    assert Path(destination).expanduser() == default
    assert Path(config["file_mounts"][destination]).expanduser() == default
    assert "RAY_AUTH_MODE=disabled" not in TEXT


def test_workers_get_from_the_head_what_it_got(config: Config) -> None:
    """Ray keeps the destinations and takes them as sources, so each must mean one place to all."""
    assert all(path.startswith("~/") for path in config["file_mounts"])


def test_nodes_install_the_tested_set_from_what_is_mounted(config: Config) -> None:
    (install,) = [line for line in config["setup_commands"] if "pip install" in line]
    assert "-c ~/brainseg-src/constraints.txt -e ~/brainseg-src" in install
    assert {
        "~/brainseg-src/constraints.txt",
        "~/brainseg-src/pyproject.toml",
        "~/brainseg-src/brainseg",
    } <= (config["file_mounts"].keys())


def test_the_environment_reaches_bashrc_once_however_often_setup_runs(
    config: Config, tmp_path: Path
) -> None:
    (command,) = [line for line in config["setup_commands"] if ".bashrc" in line]
    (tmp_path / ".bashrc").touch()
    for _ in range(2):
        subprocess.run(["bash", "-c", command], env={"HOME": str(tmp_path)}, check=True)
    lines = (tmp_path / ".bashrc").read_text().splitlines()
    assert lines.count("export RAY_AUTH_MODE=token") == 1
    assert lines.count("export RAY_ADDRESS=auto") == 1
    assert lines.count("export PATH=$HOME/venv/bin:$PATH") == 1


def commands(config: Config) -> list[tuple[str, str]]:
    return [
        (key, line) for key, lines in config.items() if key.endswith("_commands") for line in lines
    ]


def test_every_command_is_valid_bash_inside_rays_wrapping(prepared: Config) -> None:
    for _, line in commands(prepared):
        subprocess.run(["bash", "-n", "-c", f"true && ({line})"], check=True)


def test_trials_get_the_threads_of_their_cpus_and_the_dashboard_stays_inside(
    config: Config,
) -> None:
    starts = [line for key, line in commands(config) if "ray start" in line]
    assert len(starts) == 2
    assert all(line.startswith("unset OMP_NUM_THREADS;") for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_what_a_person_must_fill_in_is_named_at_the_top() -> None:
    header, _, body = TEXT.partition("\ncluster_name:")
    assert set(re.findall(r"FILL_IN_\w+", body)) == set(re.findall(r"FILL_IN_\w+", header))


def test_it_holds_no_secret() -> None:
    assert not SECRET.search(TEXT)


@pytest.mark.parametrize(
    "leak",
    [
        "export WANDB_API_KEY=local-" + 20 * "0",
        "wandb login " + 40 * "a",
        "aws_secret_access_key: " + 40 * "x",
        "AKIA" + 16 * "X",
    ],
)
def test_a_secret_would_be_seen(leak: str) -> None:
    assert SECRET.search(leak)
