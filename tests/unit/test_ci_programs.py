""".ci/run: the programs whose tests were asked for are there, or the run fails."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APT = """#!/bin/sh
echo "$*" >> {calls}
[ "$(grep -c update {calls})" -ge {good} ] || {{ echo "E: no network" >&2; exit 100; }}
[ "{gives}" = "" ] || case "$*" in *install*) touch {bin}/slurmfake; chmod +x {bin}/slurmfake;; esac
"""


def want(folder, good, gives="slurmfake", user=0, there=False):
    """The script up to the first program it wants, with an apt-get that works from try `good`.

    Returns
    -------
    The finished process, how often apt-get was to install, and how long was slept before.
    """
    programs, calls, slept = folder / "bin", folder / "calls", folder / "slept"
    programs.mkdir()
    for name, text in {
        "apt-get": APT.format(calls=calls, good=good, gives=gives, bin=programs),
        "sleep": f'#!/bin/sh\necho "$1" >> {slept}\n',
        "id": f"#!/bin/sh\necho {user}\n",
        **({"slurmfake": "#!/bin/sh\n"} if there else {}),
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    first, found, _ = (ROOT / ".ci/run").read_text().partition("\nwant slurm ")
    assert found
    script = folder / "project/.ci/run"
    script.parent.mkdir(parents=True)
    script.write_text(
        f"{first}\nwant slurm slurmfake slurm-wlm munge\necho all: $MAPMILL_REQUIRE\n"
    )
    (folder / "project/tests/slurm").mkdir(parents=True)
    (folder / "project/tests/slurm/one_node.sh").write_text("")
    done = subprocess.run(
        ["bash", script],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    tries = calls.read_text().count("slurm-wlm") if calls.exists() else 0
    return done, tries, slept.read_text().split() if slept.exists() else []


def test_programs_that_are_there(tmp_path):
    """A machine without a network could not run the tests that it has all programs for."""
    done, tries, _ = want(tmp_path, 1, there=True)
    assert done.returncode == 0 and tries == 0 and "all: slurm" in done.stdout


def test_a_network_that_comes_back(tmp_path):
    """One lost packet would fail a run of 40 minutes."""
    done, tries, slept = want(tmp_path, 2)
    assert done.returncode == 0 and "all: slurm" in done.stdout
    assert tries == 1 and len(slept) == 1


@pytest.mark.parametrize("case", ["no network", "no program", "no right"])
def test_programs_that_cannot_be_installed(tmp_path, case):
    """The run would pass without the tests that were asked for."""
    options = {"no network": {"good": 99}, "no program": {"good": 1, "gives": ""}}
    done, _, slept = want(tmp_path, **options.get(case, {"good": 1, "user": 1000}))
    assert done.returncode == 1 and "all:" not in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(".ci/run: ")]
    assert "slurm-wlm munge" in line and "slurmfake" in line
    assert len(slept) == (0 if case == "no right" else 2)
