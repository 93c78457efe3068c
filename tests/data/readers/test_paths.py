"""Names of files as this process reads them."""

import os
import subprocess
import sys
from pathlib import Path

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
