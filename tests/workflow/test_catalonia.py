"""The area file of Catalonia: planned in seconds without a network, refused without an account."""

import csv
import json
import re
import shutil
import time

import numpy as np
import pytest
import rasterio.warp
import shapely
import yaml
from rasterio.features import geometry_mask
from rasterio.transform import from_origin
from running import ROOT, snakemake
from shapely.geometry import mapping, shape

from mapmill.cli import main

TARGET = "results/catalonia_landcover.tif"
AREA = "config/areas/catalonia.yaml"
DEAD = "http://127.0.0.1:9"
OFFLINE = {"HTTP_PROXY": DEAD, "HTTPS_PROXY": DEAD, "http_proxy": DEAD, "https_proxy": DEAD}
ALONE = {"download": 152, "compose": 150, "downsample": 75, "select": 1, "pack": 1, "train": 1}
ALONE |= {"predict": 75, "mosaic": 1}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A clean folder with the configuration alone; it is the cwd, and there is no account."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    for name in ("SH_CLIENT_ID", "SH_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(folder, *arguments, **environment):
    return snakemake(folder, "--cores", "8", *arguments, **OFFLINE | environment)


def files(folder):
    """Files, links and aside files that a run has left."""
    found = [folder / name for name in ("resources", "results")]
    return [path for each in found for path in each.rglob("*") if not path.is_dir()]


def everything_said(folder, done):
    """What a run printed, and everything that it wrote anywhere below the project's folder."""
    kept = [path for path in folder.rglob("*") if path.is_file() and "config" not in path.parts]
    return done.stdout + "".join(path.read_text(errors="replace") for path in kept)


def test_the_whole_map_is_planned_without_account_or_network(project):
    """Nobody could see what a run will cost before it costs it."""
    start = time.monotonic()
    done = run(project, "-n", TARGET)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stdout
    table = done.stdout.partition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(number) for rule, number in re.findall(r"^(\w+)\s+(\d+)$", table, re.M)}
    print(f"planned {jobs['total']} jobs in {seconds:.1f} s")
    assert jobs == ALONE | {"total": 456}
    assert seconds < 20
    assert files(project) == []


def blocks_without_land(path):
    """Blocks of the grid that no land of an outline touches, by rasterio at 100 m and shapely."""
    left, bottom, right, top = 250_000, 4_470_000, 550_000, 4_770_000
    content = json.loads(path.read_text(encoding="utf-8"))
    land = shapely.union_all([shape(each["geometry"]) for each in content["features"]])
    fine = shapely.segmentize(land, 0.002)
    on_grid = shape(rasterio.warp.transform_geom("EPSG:4326", "EPSG:32631", mapping(fine)))
    sea_YX = geometry_mask(
        [on_grid], (3000, 3000), from_origin(left, top, 100, 100), all_touched=True
    )
    blocks = sea_YX.reshape(12, 250, 12, 250).all(axis=(1, 3))
    exact = np.ones((12, 12), bool)
    for row, col in np.ndindex(exact.shape):
        west, north = left + col * 25_000, top - row * 25_000
        square = shapely.box(west, north - 25_000, west + 25_000, north)
        exact[row, col] = not on_grid.intersects(square)
    assert (bottom, right) == (top - 12 * 25_000, left + 12 * 25_000)
    assert not (blocks & ~exact).any(), "rasterio sees all that shapely does"
    return {f"r{row:03d}c{col:03d}" for row, col in zip(*np.nonzero(exact))}


def test_the_blocks_left_out_have_no_land_of_catalonia(project, real_data, capsys):
    """A village would be missing from the map, or the sea be paid for."""
    assert main(["check", AREA]) == 0
    said = capsys.readouterr().err
    count, names = re.search(r"; (\d+) outside \S+ are skipped: ([^.]*)\.", said).groups()
    print(f"{count} skipped: {names}")
    skipped = set(names.split())
    assert len(skipped) == len(names.split()) == int(count) == 144 - 75
    assert skipped == blocks_without_land(real_data / "catalonia/catalonia.geojson")
    assert skipped == blocks_without_land(project / "config/outlines/catalonia.geojson")


SECRETS = {
    "SH_CLIENT_ID": "an-id-of-the-test-0815",
    "SH_CLIENT_SECRET": "a-secret-of-the-test-4711",
}


@pytest.mark.parametrize(
    "given", [set(), {"SH_CLIENT_ID"}, {"SH_CLIENT_SECRET"}], ids=["neither", "id", "secret"]
)
def test_without_an_account_the_run_stops_at_once(project, given):
    """Gigabytes of labels would be fetched first, a traceback shown, or a secret be logged."""
    done = run(project, TARGET, **{name: SECRETS[name] for name in given})
    assert done.returncode == 1
    assert len(re.findall(r"^Error in rule (\w+):", done.stdout, re.M)) == 1, done.stdout
    assert "Traceback" not in done.stdout
    (line,) = {x.strip() for x in done.stdout.splitlines() if "mapmill download: " in x}
    missing = set(SECRETS) - given
    assert set(re.findall(r"no (SH_\w+)", line)) == missing
    assert set(re.findall(r"(SH_\w+)=\.\.\.", line)) == missing
    assert "Sentinel Hub: found" in line and "expected" in line and "export" in line
    assert files(project) == []
    said = everything_said(project, done)
    assert not [value for value in SECRETS.values() if value in said]


def test_classes_and_credits(project, real_data):
    """A class of the land-cover map would be lost, or the map be published without its sources."""
    area = yaml.safe_load((project / AREA).read_text(encoding="utf-8"))
    with (project / area["labels"]["table"]).open(encoding="utf-8", newline="") as file:
        credit = file.readline()
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    table = {int(row["code"]): int(row["class"]) for row in rows}
    assert list(table) == list(range(42)) and len(rows) == 42
    assert table[0] == 0 and set(table.values()) - {0} == set(area["classes"]) == set(range(1, 13))
    listed = json.loads((real_data / "catalonia/mcsc_41_classes.json").read_text(encoding="utf-8"))
    assert table == {each["value"]: each["class12_INFERRED"] for each in listed}
    assert {int(r["code"]): r["name"].strip() for r in rows} == {
        each["value"]: each["en"].strip() for each in listed
    }
    outline = json.loads((project / area["aoi"]).read_text(encoding="utf-8"))
    credits = " ".join(area["attribution"])
    for owner, text in (
        ("Copernicus Sentinel data 2018", credits),
        ("Institut Cartogràfic i Geològic de Catalunya", credits),
        ("Institut Cartogràfic i Geològic de Catalunya", credit),
        ("Instituto Geográfico Nacional", credits),
        ("Instituto Geográfico Nacional", outline["attribution"]),
    ):
        assert owner in text
    assert all("CC BY 4.0" in text for text in (credits, credit, outline["attribution"]))
