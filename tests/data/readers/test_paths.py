"""Names of files as this process reads them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.data.readers.paths import confined
from brainseg.data.readers.problems import Refused
from tests.support.scans import write_slice


def test_a_name_that_this_python_reads_in_another_encoding_is_not_the_name_s_fault(
    tmp_path: Path,
) -> None:
    write_slice(tmp_path, "Müller", 1)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import sys; from brainseg.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(tmp_path)],
        env=os.environ | plain,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (1, 2), done
    assert "is read as ascii; set PYTHONUTF8=1" in done.stdout + done.stderr


def test_a_root_may_be_the_root_of_the_file_system_and_a_name_that_only_begins_like_it_is_outside(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data 2").touch()
    inside = (tmp_path / "data 2").relative_to("/")
    assert confined(Path("/"), str(inside)) == (tmp_path / "data 2").resolve()
    with pytest.raises(Refused, match="every file must lie inside the data folder"):
        confined(tmp_path / "data", "../data 2")
