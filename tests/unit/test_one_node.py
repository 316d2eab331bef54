"""tests/slurm/one_node.sh: whose slurm.conf it takes away before it starts, without a SLURM."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def node(tmp_path):
    """A node's folder, and the link to its slurm.conf."""
    folder, link = tmp_path / "node", tmp_path / "etc/slurm.conf"
    folder.mkdir()
    link.parent.mkdir()
    (folder / "slurm.conf").write_text("ClusterName=mapmilltest\nSlurmctldHost=here\n")
    link.symlink_to(folder / "slurm.conf")
    return folder, link


def take_over(link):
    """What the script says before it starts a node."""
    text = (ROOT / "tests/slurm/one_node.sh").read_text()
    first, found, _ = text.replace("CONF=/etc/slurm/slurm.conf", f"CONF={link}").partition(
        "\nstart() {"
    )
    assert found and f"CONF={link}\n" in first
    command = ["bash", "-s", "start", str(link.parent / "new")]
    done = subprocess.run(
        command, input=f"{first}\ntake_over\n", text=True, capture_output=True, check=True
    )
    return done.stderr


def test_a_killed_node_is_taken_over(node):
    """After a kill -9 no test of SLURM would run on the machine until someone clears up."""
    folder, link = node
    (folder / "slurmctld.pid").write_text("999999999\n")
    (folder / "slurmd.pid").write_text(f"{os.getpid()}\n")  # another's by now
    assert f"the node in {folder} was killed" in take_over(link)
    assert not link.is_symlink()


def test_a_node_that_runs_is_left(node, tmp_path):
    """Tests of another run would lose their SLURM in the midst."""
    folder, link = node
    program = shutil.copy(shutil.which("sleep"), tmp_path / "slurmctld")
    with subprocess.Popen([program, "60"]) as daemon:
        (folder / "slurmctld.pid").write_text(f"{daemon.pid}\n")
        try:
            assert f"a node runs in {folder}" in take_over(link) and link.is_symlink()
        finally:
            daemon.kill()


def test_another_slurm_is_left(node):
    """The configuration of a real cluster would be gone."""
    folder, link = node
    (folder / "slurm.conf").write_text("ClusterName=institute\n")
    assert take_over(link) == "" and link.is_symlink()
    link.unlink()
    link.write_text("ClusterName=mapmilltest\n")
    assert take_over(link) == "" and link.is_file()


def test_a_link_to_nothing_is_taken_away(node):
    """A folder that was removed leaves it."""
    folder, link = node
    shutil.rmtree(folder)
    assert take_over(link) == "" and not link.is_symlink()
