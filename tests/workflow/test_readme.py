"""The README's commands, typed in their order in a clean clone, and what they leave behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from browser import visited
from rio_cogeo.cogeo import cog_validate
from running import ROOT, SAID, planned

VENV = Path(sys.prefix)
NOT_AGAIN = "make -o .venv/.requirements"
"""The environment of these tests serves the clone too."""


def commands():
    """Lines of the README's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def as_tested(command):
    """The command as it is run here: nothing is installed again, nothing submitted."""
    if command == "make test":
        return "true  # this is it"
    if "profiles/slurm" in command:
        return f"{command} -n"
    return re.sub("^make ", f"{NOT_AGAIN} ", command)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clean clone after all commands of the README; `said` is the output of each."""
    folder = tmp_path_factory.mktemp("clone") / "mapmill"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    (folder / ".venv").symlink_to(VENV)
    said, before = {}, ""
    for command in commands():
        if command.startswith("source "):
            before = command + "; "
            continue
        bash = ["bash", "-c", before + as_tested(command)]
        done = subprocess.run(bash, cwd=folder, text=True, check=False, **SAID)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        said[command] = done.stdout
        if command.endswith("my-area.yaml") and command.startswith(
            "cp "
        ):  # the user's edit: fewer steps, one model
            path = folder / "config/areas/my-area.yaml"
            text = path.read_text().replace("seeds: [1, 2, 3]", "seeds: [1]")
            path.write_text(re.sub(r"steps: \d+", "steps: 4", text))
    return folder, said


@pytest.fixture(scope="module")
def demo_map(clone):
    """Path of the demo's map."""
    return clone[0] / "results/demo_landcover.tif"


def test_readme_names_the_commands_that_matter():
    """The README would no longer show what this file tests."""
    text = "\n".join(commands())
    for needed in ("make demo", "make test", "snakemake --cores all", "profiles/slurm", "check"):
        assert needed in text


def test_map_is_a_valid_cog_on_the_grid(demo_map):
    """GIS programs would read the map slowly, or in the wrong place."""
    valid, errors, warnings = cog_validate(demo_map, strict=True)
    assert valid and not errors and not warnings
    with rasterio.open(demo_map) as source:
        assert source.crs.to_epsg() == 32633
        assert tuple(source.transform)[:6] == (10, 0, 330000, 0, -10, 5822040)
        assert source.shape == (768, 1536)
        assert source.nodata == 0 and source.dtypes == ("uint8",)


def test_map_holds_class_names_and_colours(demo_map):
    """A person who opens the map would see grey numbers."""
    with rasterio.open(demo_map) as source:
        assert source.tags()["CLASS_3"] == "forest"
        assert "OpenStreetMap" in source.tags()["ATTRIBUTION"]
        assert source.colormap(1)[3] == (0x1B, 0x6B, 0x2F, 255)
        assert source.colormap(1)[0][3] == 0
    item = json.loads(demo_map.with_suffix(".json").read_text())
    classes = item["assets"]["map"]["classification:classes"]
    assert [entry["value"] for entry in classes] == list(range(9))


def test_map_has_a_class_wherever_there_is_imagery(demo_map, clone):
    """Nodata would be mapped, or imagery left blank."""
    with rasterio.open(demo_map) as source:
        mapped_YX = source.read(1)
    empty_YX = np.zeros(mapped_YX.shape, bool)
    for path in (clone[0] / "results/demo/compose/2017-02").glob("*.tif"):
        with rasterio.open(path) as source:
            row = round((5822040 - source.transform.f) / 10)
            col = round((source.transform.c - 330000) / 10)
            part = (slice(row, row + source.height), slice(col, col + source.width))
            empty_YX[part] = (source.read() == 0).any(axis=0)
    assert np.array_equal(mapped_YX == 0, empty_YX)


def test_scores_compare_three_seeds_with_a_random_forest(clone, capsys):
    """A reader could not tell whether the network earns its keep."""
    folder, said = clone
    metrics = json.loads((folder / "results/demo/assess/landcover/metrics.json").read_text())
    models = metrics["parts"]["test"]["models"]
    assert set(models) == {"map", "unet-1", "unet-2", "unet-3", "random forest per pixel"}
    for scores in models.values():
        value, low, high = scores["mean IoU"]
        assert 0 < low <= value <= high < 1
    summary = said["make demo"]
    with capsys.disabled():
        print("\n" + summary[summary.index("Scores of the map") :])
    for shown in ("results/demo_landcover.tif", "metrics.json", "results/demo/report.html"):
        assert shown in summary


def test_report_holds_every_figure(clone):
    """A colleague would get a report without the map or the reasons for dropped tiles."""
    report = (clone[0] / "results/demo/report.html").read_text()
    for figure in ("map.png", "tiles.png", "shift.png", "curves.png", "confusion.png"):
        assert figure in report
    assert len(report) < 15_000_000


def test_every_entry_of_the_demo_report_opens(clone, tmp_path):
    """The report of a real scene would show nothing behind an entry, or an error."""
    found = visited(clone[0] / "results/demo/report.html", tmp_path)
    assert found["said"] == [] and found["graph"] and found["charts"]
    assert "nothing" not in found["results"].values()
    assert len(found["results"]) == len(found["names"]) == 16


def test_asking_again_runs_no_job(clone):
    """Every `make demo` would train again."""
    folder, _ = clone
    targets = ["results/demo_landcover.tif", "results/demo/assess/landcover/metrics.json"]
    assert planned(folder, *targets, snakefile=folder / "Snakefile") == {}


def test_clone_stays_clean(clone):
    """Results would be committed by accident."""
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone[0], check=True, text=True, capture_output=True
    ).stdout.splitlines()
    added = [f"?? config/areas/{name}.yaml" for name in ("my-area", "simulated")]
    assert [line for line in status if ".venv" not in line] == added
    assert (clone[0] / ".venv").is_symlink()
