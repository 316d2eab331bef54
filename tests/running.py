"""Running the workflow as a user does, in a folder of its own."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAID = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def snakemake(folder, *arguments, snakefile=ROOT / "Snakefile", **environment):
    """Call Snakemake in `folder`; the result's `stdout` holds everything it said."""
    bin_folder = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"} | environment
    command = ["snakemake", "--cores", "2", "-s", snakefile, "--directory", folder, *arguments]
    return subprocess.run(command, env=env, cwd=folder, text=True, check=False, **SAID)


def planned(folder, *targets, **keywords):
    """Number of jobs by rule that asking for `targets` would run."""
    done = snakemake(folder, "-n", *targets, **keywords)
    assert done.returncode == 0, done.stdout
    table = done.stdout.partition("Job stats:")[2].partition("\n\n")[0]
    found = re.findall(r"^(\w+)\s+(\d+)$", table, re.M)
    return {rule: int(count) for rule, count in found if rule != "total"}


def digests(folder):
    """sha256 of every file below `folder`, links followed."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def fake_wheel(path, members):
    """A wheel that pip accepts as a file to download, holding `members` (name -> path on disk)."""
    info = "mapmilltest-1.0.dist-info"
    texts = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: mapmilltest\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        for name, file in members.items():
            archive.write(file, name)
    return hashlib.sha256(path.read_bytes()).hexdigest()
