"""The way of docs/onprem.md, command by command, on hosts with addresses and sshd of their own.

The tests run in the order of the file, on one cluster: a head alone, then the same head with two
workers and a latecomer. `pytest -s tests/cluster/test_ssh.py` prints each command and its seconds.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from tests.support.hosts import SHARED, Host, Network, network, why_not

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(why_not()), reason=why_not())]

ROOT = Path(__file__).parents[2]
KEY = "canary-" + 33 * "7"  # stands for a key of W&B
SMALL = (
    f"--smoke --data {SHARED}/phantoms --storage {SHARED}/runs "
    "--set model=plain --set model.plain.depth=2 --image-size 32"
)
# What is left of a network without dropout and batch norm is the same sum on any number of workers.
EXACT = (
    "--set model.plain.norm=none --set model.plain.dropout=0.0 --set precision=float32 "
    "--set batch_size=6 --set optimizer=adamw --set optimizer.adamw.lr=0.01 --epochs 12 --trials 1"
)


@dataclass(frozen=True)
class Cluster:
    """What a person has: a machine with the repository, and machines that it reaches by ssh."""

    net: Network
    client: Host

    @property
    def runs(self) -> Path:
        return self.net.folder / "shared" / "runs"

    @property
    def head(self) -> Host:
        return self.net.hosts["head"]

    def fill_in(self, workers: list[str], share: str = "") -> None:
        """Write cluster/onprem.yaml as its header tells a person to."""
        blanks = {
            "FILL_IN_HEAD": self.net.address("head"),
            "FILL_IN_WORKERS": ", ".join(map(self.net.address, workers)),
            "FILL_IN_USER": "root",
            "FILL_IN_KEY": "~/.ssh/cluster",
            "ray start ": f"ray start {share} ",
        }
        text = (ROOT / "cluster" / "onprem.yaml").read_text()
        for blank, value in blanks.items():
            text = text.replace(blank, value)
        (self.client.home / "brainseg" / "cluster" / "onprem.yaml").write_text(text)

    def run(self, command: str, *, fails: bool = False, timeout: float = 400) -> str:
        """Run a command on the person's machine, in the repository; give what it printed."""
        start = time.monotonic()
        status, output = self.client.run(in_repository(command), timeout=timeout)
        print(f"$ {command}\n  {time.monotonic() - start:.1f} s, exit status {status}")
        assert bool(status) == fails, output
        return output

    def submit(self, options: str, *, fails: bool = False) -> str:
        words = "cluster/onprem.yaml sweeps/encoders.py"
        return self.run(f"ray submit {words} -- {SMALL} {options}", fails=fails)

    def status(self) -> str:
        return self.run("ray exec cluster/onprem.yaml 'ray status'")


def in_repository(command: str) -> str:
    return f"cd brainseg && export PATH=$HOME/venv/bin:$PATH && {command}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("hosts")
    with network(folder, ["client", "head", "one", "two", "late"]) as net:
        client = net.host("client")
        net.host("head")
        shutil.copy(folder / "user", client.home / ".ssh" / "cluster")
        clone(client.home / "brainseg")
        write_phantoms(folder / "shared" / "phantoms", patients=8, slices=5, size=48, seed=0)
        cluster = Cluster(net, client)
        cluster.run("(umask 077; ray get-auth-token --generate > /dev/null)")
        cluster.fill_in([])
        yield cluster


def clone(to: Path) -> None:
    """What a fresh clone would hold, with the changes that are not committed yet."""
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)


def hosts_of(run: Run) -> dict[str, list[str]]:
    """The hosts on which the workers of each trial that has begun are, in order of their ranks."""
    trials = sorted(path.name for path in (run.path / "trials").glob("*"))
    begins = {trial: read_lines(run.trial(trial).starts) for trial in trials}
    return {
        trial: [worker["host"] for worker in lines[-1]["workers"]]
        for trial, lines in begins.items()
        if lines
    }


def began(run: Run) -> list[str]:
    """Trials in the order in which training of them was begun, once for each time."""
    lines = read_lines(run.path / "trials.jsonl")
    return [line["trial"] for line in lines if line["state"] == "running"]


def packs(host: Host) -> list[Path]:
    return list((host.home / ".cache" / "brainseg" / "packs").glob("*/slices.npy"))


def rays(host: Host) -> list[str]:
    """Processes of Ray in a host."""
    return [line for line in host.processes() if re.search(r"ray::|/ray/|raylet|gcs_server", line)]


def eventually(holds: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(0.5)


def test_ray_up_installs_brainseg_and_starts_the_head(cluster: Cluster) -> None:
    cluster.run("ray up -y cluster/onprem.yaml")
    eventually(lambda: "1 local.cluster.node" in cluster.status(), 300, "the head in `ray status`")
    assert (cluster.head.home / "venv" / "bin" / "brainseg").exists()


def test_nobody_gets_in_without_the_token(cluster: Cluster) -> None:
    status = f"~/venv/bin/ray status --address={cluster.net.address('head')}:6379"
    number, said = cluster.head.run(f"RAY_AUTH_MODE=disabled {status}")
    assert number and "InvalidAuthToken" in said
    number, said = cluster.head.run(f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={64 * '0'} {status}")
    assert number and "InvalidAuthToken" in said
    number, said = cluster.head.run(f"RAY_AUTH_MODE=token {status}")
    assert not number and "Resources" in said


def test_the_token_is_nobody_else_s_to_read(cluster: Cluster) -> None:
    assert (cluster.head.home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


def test_a_submitted_sweep_ends_with_its_report(cluster: Cluster) -> None:
    said = cluster.submit("--trials 2 --name first")
    run = Run(cluster.runs / "first")
    assert run.is_whole() and "2 of 2 trials ended" in said
    assert f"{SHARED}/runs/first/report.html" in said and (run.path / "report.html").exists()
    assert len(pd.read_csv(run.path / "results.csv")) == 2


def test_the_same_submit_again_goes_on_and_trains_nothing_twice(cluster: Cluster) -> None:
    run = Run(cluster.runs / "first")
    assert "all 2 trials were tried; raise the budget" in cluster.submit("--trials 2 --name first")
    assert sorted(began(run)) == ["0000", "0001"]
    cluster.submit("--trials 3 --name first")
    assert sorted(began(run)) == ["0000", "0001", "0002"]


def test_a_slip_in_an_option_is_one_sentence_and_a_failure(cluster: Cluster) -> None:
    said = cluster.submit("--trails 2", fails=True)
    assert "there is no option --trails; did you mean '--trials'" in said
    assert "Traceback" not in said


def test_a_key_of_wandb_reaches_the_sweep_and_no_file(cluster: Cluster) -> None:
    """By the command in the header of cluster/onprem.yaml, with the key typed into no file."""
    at = f"root@{cluster.net.address('head')}"
    cluster.run(
        f"printf 'set-environment -g WANDB_API_KEY %s\\n' {KEY} | "
        f"ssh -o StrictHostKeyChecking=no -i ~/.ssh/cluster {at} "
        "'tmux has-session || tmux new-session -d; tmux source-file -'"
    )
    probe = cluster.client.home / "brainseg" / "probe.py"
    probe.write_text(
        "import os, pathlib\n"
        f"seen = str(os.environ.get('WANDB_API_KEY') == '{KEY[:7]}' + 33 * '7')\n"
        f"pathlib.Path('{SHARED}/seen').write_text(seen)\n"
    )
    seen, report = cluster.net.folder / "shared" / "seen", cluster.runs / "keyed" / "report.html"
    cluster.run("ray submit --tmux cluster/onprem.yaml probe.py")
    eventually(seen.exists, 300, "the probe's answer")
    assert seen.read_text() == "True"
    options = f"{SMALL} --trials 1 --wandb offline --name keyed"
    cluster.run(f"ray submit --tmux cluster/onprem.yaml sweeps/encoders.py -- {options}")
    eventually(report.exists, 300, "the report of a sweep in tmux")
    _, found = cluster.head.run(f"grep -rl {KEY} ~ /tmp /run {SHARED}")
    assert not found.strip()


def test_ray_job_submit_runs_the_same_script_from_the_working_directory(cluster: Cluster) -> None:
    tunnel = cluster.client.start(in_repository("exec ray dashboard cluster/onprem.yaml"))
    try:
        answers = "ss -ltn | grep -q 127.0.0.1:8265"
        eventually(lambda: not cluster.client.run(answers)[0], 300, "the tunnel of `ray dashboard`")
        submit = (
            "ray job submit --address=http://localhost:8265 --working-dir=. -- "
            f"python sweeps/encoders.py {SMALL} --trials 1 --name job"
        )
        refused = cluster.run(submit, fails=True)
        assert "Missing authentication token" in refused
        said = cluster.run(f"RAY_AUTH_MODE=token {submit}")
        assert "succeeded" in said and Run(cluster.runs / "job").is_whole()
    finally:
        tunnel.terminate()


def test_ray_down_leaves_no_process_of_ray(cluster: Cluster) -> None:
    assert rays(cluster.head)
    cluster.run("ray down -y cluster/onprem.yaml")
    eventually(lambda: not rays(cluster.head), 300, "the end of Ray on the head")


def test_submit_start_brings_up_a_cluster_that_was_down_and_its_workers(cluster: Cluster) -> None:
    for name in ("one", "two"):
        cluster.net.host(name)
    cluster.fill_in(["one", "two"], share="--num-cpus=1")
    words = "--start cluster/onprem.yaml sweeps/encoders.py -- --smoke --trials 1 --name started"
    said = cluster.run(f"ray submit {words}")  # no data, no storage: as the mission has it
    assert "a rehearsal on made-up patients" in said and Run(cluster.runs / "started").is_whole()
    eventually(lambda: "/3.0 CPU" in cluster.status(), 300, "three hosts in `ray status`")


@pytest.fixture(scope="module")
def wide(cluster: Cluster) -> tuple[Run, str]:
    """A sweep of four long trials on three hosts, which a fourth joins; and what it printed.

    Long, since Tune hands a trial that waits for a new host to whichever is free before that is up.
    """
    for host in cluster.net.hosts.values():
        shutil.rmtree(host.home / ".cache" / "brainseg" / "packs", ignore_errors=True)
    late = cluster.net.host("late")
    for folder in ("brainseg-src", ".ray"):
        shutil.copytree(cluster.head.home / folder, late.home / folder)
    status, said = late.run("venv/bin/pip install -q -e brainseg-src")
    assert not status, said
    run, start = Run(cluster.runs / "wide"), time.monotonic()
    options = f"{SMALL} --trials 4 --epochs 5000 --grace 5000 --name wide"
    submit = f"ray submit cluster/onprem.yaml sweeps/encoders.py -- {options}"
    sweep = cluster.client.start(in_repository(submit))
    eventually(lambda: len(hosts_of(run)) == 3, 300, "three trials")
    status, said = late.run(
        "RAY_AUTH_MODE=token venv/bin/ray start --num-cpus=1 "
        f"--address={cluster.net.address('head')}:6379"
    )
    assert not status, said
    eventually(lambda: len(hosts_of(run)) == 4, 300, "the trial on the host that joined")
    eventually(lambda: run.trial("0003").metrics.exists(), 300, "its first epoch")
    cluster.head.run("pkill -INT -f '^python .*/encoders.py'")  # as Ctrl-C does
    said, _ = sweep.communicate(timeout=120)
    print(f"$ {submit}\n  {time.monotonic() - start:.1f} s, exit status {sweep.returncode}")
    print("  trials on", hosts_of(run))
    return run, said


@pytest.mark.timeout(1200)
def test_trials_spread_over_the_hosts(wide: tuple[Run, str]) -> None:
    run, said = wide
    assert "3 trials at once" in said
    assert sorted(host for (host,) in hosts_of(run).values()) == ["head", "late", "one", "two"]


def test_a_host_that_joins_late_is_used(wide: tuple[Run, str]) -> None:
    run, said = wide
    assert "joined: late" in said and "there is room for 4 trials at once" in said
    assert hosts_of(run)["0003"] == ["late"]


def test_a_sweep_that_is_interrupted_leaves_a_report(wide: tuple[Run, str]) -> None:
    run, said = wide
    assert not run.is_whole() and (run.path / "report.html").exists()
    assert "Traceback" not in said


def test_the_data_are_packed_once_on_each_host(cluster: Cluster, wide: tuple[Run, str]) -> None:
    nodes = [host for name, host in cluster.net.hosts.items() if name != "client"]
    assert [len(packs(host)) for host in nodes] == [1, 1, 1, 1]


RESCORE = """
import sys, pathlib, torch
from brainseg.training.task import Task
from brainseg.training.trial import Trial
run, to = map(pathlib.Path, sys.argv[1:])
trial = Trial(Task(run, "0000"), torch.device("cpu"))
best = torch.load(run / "trials/0000/best.pt", weights_only=True)
trial.learner.network.load_state_dict(best["network"])
trial.validate().patient_table().to_csv(to, index=False)
"""


def test_a_trial_on_two_hosts_scores_and_learns_as_on_one(cluster: Cluster) -> None:
    runs = {}
    for workers in (1, 2):
        runs[workers] = Run(cluster.runs / f"of-{workers}")
        cluster.submit(f"{EXACT} --workers {workers} --name of-{workers}")
        (record,) = runs[workers].trials()
        assert record.state == "done", record.reason
        assert len(set(hosts_of(runs[workers])["0000"])) == workers
    two = runs[2].trial("0000")
    (cluster.runs / "rescore.py").write_text(RESCORE)
    status, said = cluster.head.run(
        f"cd {SHARED}/runs && ~/venv/bin/python rescore.py $PWD/of-2 again.csv"
    )
    assert not status, said
    table, again = pd.read_csv(two.patients), pd.read_csv(cluster.runs / "again.csv")
    print(table, again, sep="\n")
    assert table["tp"].sum() > 0 and table["dice"].max() < 1, "all or nothing would prove nothing"
    pd.testing.assert_frame_equal(table, again)
    for alone, pair in zip(runs[1].trial("0000").rows(), two.rows(), strict=True):
        if alone.epoch <= 3:
            assert alone.train_loss == pytest.approx(pair.train_loss, rel=1e-4)


def test_after_ray_down_and_a_stop_on_each_worker_no_process_of_ray_is_left(
    cluster: Cluster,
) -> None:
    cluster.run("ray down -y cluster/onprem.yaml")
    eventually(lambda: not rays(cluster.head), 60, "the end of Ray on the head")
    workers = [cluster.net.hosts[name] for name in ("one", "two", "late")]
    ssh = "ssh -o StrictHostKeyChecking=no -i ~/.ssh/cluster"
    addresses = " ".join(worker.address for worker in workers)
    cluster.run(f"for at in {addresses}; do {ssh} root@$at '~/venv/bin/ray stop' & done; wait")
    eventually(lambda: not any(map(rays, workers)), 60, "the end of Ray on the workers")


def test_when_the_hosts_are_gone_nothing_is_left(tmp_path: Path) -> None:
    with network(tmp_path, ["alone"]) as net:
        host = net.host("alone")
        host.run("(setsid sleep 36001 > /dev/null 2>&1 &)")
        assert "sleep 36001" in host.processes()
        assert "sleep 36001" in on_this_machine("ps -eo args=")
        assert Path(f"/proc/{host.pid}").exists()
    assert "sleep 36001" not in on_this_machine("ps -eo args=")
    assert not Path(f"/proc/{host.pid}").exists()
    assert str(tmp_path) not in on_this_machine("cat /proc/self/mounts")


def on_this_machine(command: str) -> str:
    return subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
