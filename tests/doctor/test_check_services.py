"""Storage, data, W&B, the hub and ports: each fault is named with its node and a remedy."""

from dataclasses import replace

from brainseg.doctor.collect import DRIVER, Tracker
from brainseg.doctor.open_ports import Port
from tests.support.evidence import FINE, ONLINE, alone, cluster, notes, only_problem, problems


def test_a_node_that_does_not_see_the_storage_is_named() -> None:
    evidence = replace(
        cluster(FINE, FINE), unshared={"b": "does not see what the driver wrote there"}
    )
    problem = only_problem(evidence)
    assert problem.seen == "/shared: b does not see what the driver wrote there"
    assert "mount the same folder" in problem.remedy


def test_a_driver_that_cannot_write_is_named() -> None:
    evidence = replace(
        cluster(FINE), unshared={DRIVER: "cannot write there (Read-only file system)"}
    )
    assert only_problem(evidence).seen.startswith("/shared: the driver cannot write there")


def test_in_a_cluster_a_storage_that_was_not_named_is_asked_for() -> None:
    assert "--storage FOLDER" in notes(replace(cluster(FINE, FINE), storage=""), "storage")
    assert not notes(replace(cluster(FINE), storage=""), "storage")


def test_data_must_be_on_every_node_and_the_same() -> None:
    evidence = replace(cluster(FINE, FINE), data="/data", counts={"a": (7, ""), "b": (6, "")})
    assert only_problem(evidence).seen == "/data differs: 7 files on a; 6 files on b"
    evidence = replace(evidence, counts={"a": (7, ""), "b": (0, "there is no such folder")})
    assert only_problem(evidence).seen == "/data cannot be read on b: there is no such folder"


def test_without_a_key_or_a_server_wandb_is_a_note_with_what_to_do_later() -> None:
    for tracker in (replace(ONLINE, key=False), replace(ONLINE, reachable=False)):
        assert "wandb sync" in notes(replace(alone(FINE), tracker=tracker), "W&B")


def test_a_key_that_is_none_is_a_problem() -> None:
    tracker = Tracker(refusal="W&B's key cannot be used (it is short); set the whole key")
    finding = only_problem(replace(alone(FINE), tracker=tracker))
    assert finding.seen.endswith("(it is short)") and finding.remedy == "set the whole key"


def test_a_hub_out_of_reach_is_a_note_with_how_to_fetch_weights() -> None:
    for cut_off in (replace(FINE, hub_reachable=False), replace(FINE, hub_offline=True)):
        assert "brainseg weights fetch" in notes(
            cluster(FINE, replace(cut_off, hub_reachable=False)), "hub"
        )


def port(process: str, *, token: bool) -> Port:
    return Port(process=process, address="0.0.0.0", port=6379, token=token)


def test_an_open_port_without_a_token_is_a_problem() -> None:
    problem = only_problem(cluster(FINE, replace(FINE, ports=[port("head (GCS)", token=False)])))
    assert problem.seen == (
        "Ray on b runs code, as its user, for anybody who reaches head (GCS) 6379"
    )
    assert "RAY_AUTH_MODE=token" in problem.remedy


def test_with_a_token_it_is_a_note() -> None:
    evidence = alone(replace(FINE, ports=[port("raylet", token=True)]))
    assert not problems(evidence)
    assert "it asks for a token" in notes(evidence, "ports")


def test_a_dashboard_open_without_a_token_is_a_problem_of_its_own() -> None:
    evidence = alone(replace(FINE, ports=[port("dashboard", token=False)]))
    assert [problem.topic for problem in problems(evidence)] == ["ports", "dashboard"]
    assert not problems(alone(replace(FINE, ports=[port("dashboard", token=True)])))


def test_nodes_that_disagree_about_tokens_are_noted() -> None:
    bare = replace(FINE, ports=[port("raylet", token=False)])
    guarded = replace(FINE, ports=[port("raylet", token=True)])
    assert "the same RAY_AUTH_MODE" in notes(cluster(bare, guarded), "ports")


def test_ports_of_metrics_run_no_code() -> None:
    assert not problems(alone(replace(FINE, ports=[port("metrics", token=False)])))
