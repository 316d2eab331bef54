"""Machine code of kernels that is kept: it runs without numba, and only where it belongs."""

import os
import subprocess
import sys
from pathlib import Path

import mapmill

CODE = """
import sys
import numpy as np
from mapmill.majority import Choice, reduce
found, _ = reduce(Choice(3), np.array([[1, 2, 3, 3], [1, 1, 2, 3]], np.uint8), 2)
print(found.tolist(), "numba" in sys.modules)
"""


def run(folder, code=CODE):
    """What a process says that keeps its machine code in `folder`."""
    source = str(Path(mapmill.__file__).parents[1])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": source}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[0]


def test_kept_code_runs_without_numba(tmp_path):
    """Otherwise each block would wait half a second for numba, or be compiled anew.

    And code of another source must not be taken: a changed kernel would give the old result.
    """
    other = tmp_path / "kernels.reduce_cells-0123456789abcdef.o"
    other.write_bytes(b"machine code of something else")
    assert run(tmp_path) == "[[1, 3]] True"
    assert len(list(tmp_path.glob("kernels.reduce_cells-*.o"))) == 2
    assert run(tmp_path) == "[[1, 3]] False"


def test_where_nothing_can_be_kept_numba_compiles(tmp_path):
    """Otherwise mapmill would not run where it is installed read-only."""
    folder = tmp_path / "file"
    folder.write_text("no folder")
    assert run(folder) == "[[1, 3]] True"
