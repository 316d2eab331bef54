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


def test_damaged_code_is_compiled_again(tmp_path, monkeypatch):
    """Otherwise one bad sector would end every later process without a word."""
    from mapmill import native

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    source, name = tmp_path / "kernels.py", "x.o"
    assert native._keep(source, name, b"machine code")
    kept = tmp_path / name
    assert native._kept(kept) == b"machine code"
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    assert native._kept(kept) is None
    kept.write_bytes(b"")
    assert native._kept(kept) is None
    assert native._kept(tmp_path / "none") is None


def test_a_user_without_a_home_can_still_compile(tmp_path, monkeypatch):
    """Otherwise a container with an unknown user would end in a traceback."""
    from pathlib import Path

    from mapmill import native

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert native._folders(tmp_path / "kernels.py") == [tmp_path / "__pycache__"]
