"""How a command ends where its surroundings fail: one sentence, a status, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainseg.data.phantom import write_phantoms

MAIN = "import sys; sys.argv[0] = 'brainseg'; from brainseg.cli.main import main; main()"
COMMAND = [sys.executable, "-c", MAIN]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("d") / "dé"
    return write_phantoms(folder, patients=6, slices=3, size=64, seed=0)


def brainseg(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, env=os.environ | settings
    )


def test_a_home_folder_that_nobody_has_is_one_sentence() -> None:
    done = brainseg("check", "~nobody_at_all/x")
    assert (done.returncode, done.stderr) == (
        2,
        "brainseg: ~nobody_at_all/x names a home folder that this machine does not have; write "
        "the whole path\n",
    )


def test_a_name_in_a_sentence_cannot_command_the_terminal() -> None:
    done = brainseg("check", "/nowhere/\x1b[2Jfolder")
    assert done.returncode == 2 and "\\x1b[2Jfolder does not exist" in done.stderr


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_a_page_that_cannot_be_written_is_one_sentence_and_leaves_nothing(
    patients: Path, tmp_path: Path, option: str
) -> None:
    place = tmp_path / "folder.html"
    place.mkdir()
    done = brainseg("check", patients, option, place)
    assert done.returncode == 2 and done.stderr.startswith("brainseg: ")
    assert done.stderr.count("\n") == 1 and str(place) in done.stderr
    assert list(tmp_path.rglob("*")) == [place]


def test_a_reader_that_goes_away_is_no_error_of_ours(patients: Path) -> None:
    command = subprocess.Popen(
        [*COMMAND, "check", str(patients)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout and command.stderr
    command.stdout.close()
    assert command.stderr.read() == b"" and command.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_the_machine_s_fault(patients: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "check", patients], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 4
    assert done.stderr == "brainseg: the system refused: No space left on device\n"


def test_a_name_that_the_terminal_cannot_show_is_shown_escaped(patients: Path) -> None:
    done = brainseg("check", patients, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "d\\xe9" in done.stdout and not done.stderr


def test_ctrl_c_while_files_are_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    words = ["phantom", tmp_path / "many", "--patients", "500", "--slices", "60"]
    command = subprocess.Popen([*COMMAND, *map(str, words)], stderr=subprocess.PIPE)
    while not list(tmp_path.rglob("*.tif")) and command.poll() is None:
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=30)
    assert command.returncode == 130
    assert errors == b"brainseg: interrupted; run the same command again to resume\n"
    assert list(tmp_path.iterdir()) == []
