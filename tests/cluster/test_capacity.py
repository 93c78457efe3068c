"""Trials find room as machines come: a real autoscaler, real raylets, one machine."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

from brainseg.cli.main import NO_SCORE
from brainseg.data.phantom import write_phantoms
from brainseg.records.run import Run
from tests.support.raylets import Raylets, raylets

ROOT = Path(__file__).parents[2]
BRAINSEG = str(Path(sys.executable).with_name("brainseg"))
SMALL = [
    "--epochs=2",
    "--image-size=32",
    "--set=model=plain",
    "--set=model.plain.width=4",
    "--set=batch_size=4",
    "--validation=0.3",
    "--test=0",
    "--wandb=off",
]

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=6, size=48)


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ray's sockets lie in its temporary folder, and their paths may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@dataclass
class Driver:
    """A sweep in a process of its own, and what it has printed so far."""

    process: subprocess.Popen[str]
    log: Path  # of its errors
    output: str = ""

    def hears(self, words: str) -> None:
        """Read until it prints ``words``, once more if it has printed them before."""
        self._read_until(lambda line: words in line, words)

    def has_said(self, *words: str) -> None:
        """Read until it has printed all of ``words``, in whatever order."""
        if not all(one in self.output for one in words):
            self._read_until(lambda line: all(one in self.output for one in words), str(words))

    def _read_until(self, enough: Callable[[str], bool], words: str) -> None:
        while line := self._next_line():
            if enough(line):
                return
        raise AssertionError(f"it never said {words}: {self.output}{self.errors()}")

    def _next_line(self) -> str:
        """ "Empty once it has ended. It is killed if it says nothing for QUIET_SECONDS."""
        assert self.process.stdout
        watchdog = Timer(QUIET_SECONDS, self.process.kill)  # what it said by then tells why
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        self.output += line
        return line

    def ends(self, status: int) -> str:
        """All that it printed, once it has ended."""
        while self._next_line():
            pass
        ended, errors = self.process.wait(), self.errors()
        assert ended == status, self.output + errors
        return self.output + errors

    def errors(self) -> str:
        return self.log.read_text()


@contextmanager
def begun(cluster: Raylets, patients: Path, storage: Path, *words: str) -> Iterator[Driver]:
    """The encoder sweep on the cluster; killed at the end of the block if it still runs."""
    command = [sys.executable, "-u", str(ROOT / "sweeps" / "encoders.py"), f"--data={patients}"]
    command += [f"--storage={storage}", f"--address={cluster.address}", *SMALL, *words]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    log = storage / "stderr"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process,
    ):
        try:
            yield Driver(process, log)
        finally:
            process.kill()


QUIET_SECONDS = 400  # far longer than any pause of a driver, however loaded the machine is
LONG = ["--trials=2", "--epochs=3000"]  # until the test has seen enough


def test_a_sweep_begins_without_any_machine_and_its_trials_are_what_the_autoscaler_hears(
    patients: Path, tmp_path: Path, short_path: Path
) -> None:
    with (
        raylets(short_path, cpus=0, may_come=2) as cluster,
        begun(cluster, patients, tmp_path, *LONG) as driver,
    ):
        driver.hears("2 trials at once")
        driver.hears("joined: ")
        driver.hears("[0000] epoch 2/")
        asked_for(cluster, workers=1, trials=2)  # whether or not Ray begins another node in time
        assert "done" not in driver.output


def test_a_sweep_waits_for_a_machine_that_joins_late_and_uses_another(
    patients: Path, tmp_path: Path, short_path: Path
) -> None:
    with (
        raylets(short_path, cpus=0) as cluster,
        begun(cluster, patients, tmp_path, *LONG) as driver,
    ):
        driver.hears("and the machines have 0 CPU(s); lower --workers")
        cluster.join(cpus=1)
        driver.hears("1 trials at once")
        driver.hears("[0000] starts")
        cluster.join(cpus=1)
        driver.hears("there is room for 2 trials at once")
        driver.hears("[0001] epoch 2/")
        assert "done" not in driver.output, "both train at once"


def test_a_plan_measures_where_the_cluster_has_room(
    patients: Path, tmp_path: Path, short_path: Path
) -> None:
    script = str(ROOT / "sweeps" / "encoders.py")
    words = [f"--data={patients}", f"--storage={tmp_path}", *SMALL, "--measure=1"]
    with raylets(short_path, cpus=1) as cluster:
        done = subprocess.run(
            [BRAINSEG, "plan", script, *words, f"--address={cluster.address}"],
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain U-Net, width 4" in done.stdout and "measured" in done.stdout
    assert not list(tmp_path.iterdir()), "what it measured with is gone"


@pytest.mark.parametrize("killed", [False, True])
def test_workers_that_were_asked_for_in_vain_are_not_held_once_there_is_room(
    patients: Path, tmp_path: Path, short_path: Path, killed: bool
) -> None:
    """Ray itself would hold them for ever: the next driver of the sweep has their place."""
    words = ["--workers=2", "--wait=0.3", "--trials=1"]
    with raylets(short_path, cpus=2) as cluster:
        with (
            held(cluster, cpus=1),
            begun(cluster, patients, tmp_path, *words) as driver,
        ):
            if killed:
                driver.hears("[0000] starts")
                asked_for(cluster, workers=2, waiting=True)
            else:
                said = driver.ends(2)
                assert "no trial found room for 0.3 min" in said and "Traceback" not in said
                assert "other programs use what it needs" in said
        with begun(cluster, patients, tmp_path, "--workers=2", "--trials=1") as driver:
            assert "[0000] done" in driver.ends(0)


@contextmanager
def held(cluster: Raylets, *, cpus: int) -> Iterator[None]:
    """So many CPUs of the cluster, taken by another program."""
    hold = (
        "import ray, time; ray.init(log_to_driver=False)\n"
        f"group = ray.util.placement_group([{{'CPU': 1}}] * {cpus})\n"
        "ray.get(group.ready()); print('held', flush=True); time.sleep(600)"
    )
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": cluster.address}
    other = subprocess.Popen(
        [sys.executable, "-c", hold], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    )
    assert other.stdout and other.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        other.kill()
        other.wait()


def asked_for(cluster: Raylets, *, workers: int, trials: int = 1, waiting: bool = False) -> None:
    """Return once so many trials hold so many workers of one CPU, or wait for them."""
    states = ["PENDING"] if waiting else ["PENDING", "CREATED"]
    look = (
        "import ray, time; ray.init(log_to_driver=False)\n"
        "from ray.util.placement_group import placement_group_table\n"
        f"while sum(g['state'] in {states} "
        f"and list(g['bundles'].values()) == [{{'CPU': 1.0}}] * {workers} "
        f"for g in placement_group_table().values()) < {trials}: time.sleep(0.5)"
    )
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": cluster.address}
    subprocess.run([sys.executable, "-c", look], env=env, check=True)


def test_a_machine_that_is_lost_under_two_workers_is_waited_for_and_missed(
    patients: Path, tmp_path: Path, short_path: Path
) -> None:
    with raylets(short_path, cpus=1) as cluster:
        other = cluster.join(cpus=1)
        words = ["--workers=2", "--wait=0.5", "--trials=1", "--epochs=3000"]
        with begun(cluster, patients, tmp_path, *words) as driver:
            driver.hears("[0000] epoch 2/")
            os.killpg(other.pid, signal.SIGKILL)
            said = driver.ends(2)
    assert "no trial found room for 0.5 min" in said and "Traceback" not in said
    assert (tmp_path / "encoders" / "report.html").exists()


def test_workers_that_find_no_way_to_each_other_fail_their_trial_with_the_reason(
    patients: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "encoders.py"), f"--data={patients}"]
    command += [f"--storage={tmp_path}", *SMALL, "--workers=2", "--trials=1"]
    env = {**os.environ, "GLOO_SOCKET_IFNAME": "no-such-interface"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=400)
    assert done.returncode == NO_SCORE, done.stdout + done.stderr
    (record,) = Run(tmp_path / "encoders").trials()
    assert record.state == "failed" and "no-such-interface" in record.reason
