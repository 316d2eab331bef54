"""Catalonia in small, from a local Sentinel Hub to the map: what is asked for, how often, and what
a kill leaves. The grid, outline, classes and bands are those of the area file."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from making import simulated_scene, write_tif
from running import ROOT, digests, planned, snakemake
from servers.areas import SECRET, files_below, known_to, right
from servers.sentinel_hub import SentinelHub

TARGET = "results/small_landcover.tif"
WINDOW = (446_480, 4_592_720, 448_400, 4_594_000)
"""Two rows of three blocks on the coast; two of them hold nothing but sea."""
BLOCKS = {"r275c307": (0, 0), "r275c308": (0, 1), "r275c309": (0, 2), "r276c307": (1, 0)}
"""Name -> row and column in the window."""
SIDE = 640
PERIODS = ("2018-04", "2018-08")
DEAD = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
)


def content_of_area():
    """Catalonia in blocks of 64 px, its labels on disk, its net a small one."""
    content = yaml.safe_load((ROOT / "config/areas/catalonia.yaml").read_text(encoding="utf-8"))
    content["grid"]["block"] = 64
    content["window"] = list(WINDOW)
    content["labels"] = {"file": "data/labels.tif", "factor": 10} | {
        "table": content["labels"]["table"]
    }
    split = {"method": "strips", "direction": "west-east", "train": 0.5, "val": 0.25, "test": 0.25}
    content["select"] = {"size": 32, "split": split}
    content["train"] = {"width": 4, "depth": 2, "steps": 20, "batch": 4, "validate_every": 10}
    content["train"] |= {"seeds": [1], "absent_classes": "warn"}
    content["predict"], content["assess"] = {"tile": 128}, {"block": 64}
    content["runs"], content["maps"] = {"unet": {}}, {"landcover": {"run": "unet"}}
    del content["compare"]
    return content


def make_project(folder):
    """The configuration, and labels of 1 m with the codes of the land-cover map."""
    shutil.copytree(ROOT / "config", folder / "config")
    path = folder / "config/areas/small.yaml"
    path.write_text(yaml.safe_dump(content_of_area(), sort_keys=False))
    label_YX = np.array([0, 1, 7, 41], np.uint8)[simulated_scene(128, 192)[0]]
    fine_YX = np.kron(label_YX, np.ones((10, 10), np.uint8))
    write_tif(folder / "data/labels.tif", fine_YX, left=WINDOW[0], top=WINDOW[3], step=1.0)
    return folder


def run(folder, server, *arguments):
    return snakemake(folder, "--cores", "4", *arguments, **DEAD | known_to(server))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose map has been made, its server, and what Snakemake said."""
    folder = make_project(tmp_path_factory.mktemp("small"))
    with SentinelHub(client_secret=SECRET) as server:
        server.fault("stall", seconds=0.3, times=None)  # so that two at once would be seen
        start = time.monotonic()
        done = run(folder, server, TARGET)
        print(f"mapped in {time.monotonic() - start:.1f} s")
        assert done.returncode == 0, done.stdout
        yield folder, server, done.stdout


def box_of(name):
    row, col = BLOCKS[name]
    left, top = WINDOW[0] + col * SIDE, WINDOW[3] - row * SIDE
    return left, top - SIDE, left + SIDE, top


def test_the_map_is_made(made):
    """A region could not be mapped from an account alone."""
    folder, *_ = made
    with rasterio.open(folder / TARGET) as source:
        map_YX, bounds = source.read(1), tuple(source.bounds)
        assert source.crs == "EPSG:32631" and bounds == WINDOW
    expected = np.zeros((128, 192), bool)
    for row, col in BLOCKS.values():
        expected[row * 64 : row * 64 + 64, col * 64 : col * 64 + 64] = True
    np.testing.assert_array_equal(map_YX > 0, expected)


def test_each_block_is_asked_for_once(made):
    """Blocks at sea, beside the window, or a second time would be paid for."""
    _, server, _ = made
    asked = [(r.bbox, r.json["input"]["data"][0]["dataFilter"]["timeRange"]["from"][:7])
             for r in server.seen("process")]  # fmt: skip
    wanted = [(box_of(name), period) for name in BLOCKS for period in PERIODS]
    assert sorted(asked) == sorted(wanted) and len(asked) == 4 * 2
    assert server.count("token") == 4 * 2, "one for each job"
    assert {request.status for request in server.seen()} == {200}
    assert server.elsewhere == [] and server.count("other") == server.count("catalog") == 0


def test_one_request_at_a_time(made):
    """The free rate of the service would be exceeded, and the account be locked."""
    _, server, _ = made
    assert server.busiest == 1


def test_every_pixel_is_composed(made):
    """The workflow would put a block, a band or a season in the place of another."""
    folder, *_ = made
    bands = content_of_area()["compose"]["bands"]
    for period in PERIODS:
        found = sorted((folder / f"results/small/compose/{period}").glob("*.tif"))
        assert [path.stem for path in found] == sorted(BLOCKS)
        for path in found:
            with rasterio.open(path) as source:
                np.testing.assert_array_equal(
                    source.read(), right(period, bands, box_of(path.stem))
                )


def test_no_secret_is_anywhere(made):
    """Logs and results, which people share, would hold the secret of an account."""
    folder, server, said = made
    secrets = [SECRET, *(r.authorization.partition(" ")[2] for r in server.seen("process"))]
    assert len(set(secrets)) == 9 and not [secret for secret in secrets if secret in said]
    paths = files_below(folder)
    assert any(".snakemake" in path for path in paths) and any("/logs/" in path for path in paths)
    for path in paths:
        content = Path(path).read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def test_a_second_run_does_nothing(made):
    """The same command would work, or ask, again."""
    folder, server, _ = made
    before = server.count()
    assert planned(folder, TARGET) == {}
    assert run(folder, server, TARGET).returncode == 0 and server.count() == before


def test_forceall_asks_for_nothing(made):
    """Doing everything again would pay again, or give other pixels."""
    folder, server, _ = made
    targets = [f"results/small/compose/{period}/r275c308.tif" for period in PERIODS]
    before, asked = digests(folder / "results"), server.count()
    jobs = planned(folder, "--forceall", *targets)
    assert jobs == {"download": 2, "compose": 2}
    done = run(folder, server, "--forceall", *targets)
    assert done.returncode == 0, done.stdout
    assert server.count() == asked
    assert digests(folder / "results") == before


def test_a_larger_window_asks_for_the_rest_alone(made):
    """A pilot's blocks would be paid for again by the whole."""
    folder, server, _ = made
    path, asked = folder / "config/areas/small.yaml", server.count("process")
    text = path.read_text()
    content = content_of_area()
    content["window"][0] -= SIDE
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        jobs = planned(folder, TARGET)
        done = run(folder, server, "results/small/compose/2018-08/r275c306.tif")
    finally:
        path.write_text(text)
    assert done.returncode == 0, done.stdout
    assert jobs["download"] == jobs["compose"] == 2 * 2
    (request,) = server.seen("process")[asked:]
    assert request.bbox[0] == WINDOW[0] - SIDE


DOWNLOAD = """
import sys
import mapmill.stages.download
from mapmill.cli import main
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""
NAME = "2018-04/r275c308.tif"
LINK = f"results/small/download/{NAME}"


def start(folder, server, environment):
    """A download in a process of its own, about to begin."""
    line = [sys.executable, "-c", DOWNLOAD, "download", "config/areas/small.yaml", NAME, LINK]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(line, cwd=folder, env=environment | known_to(server), **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


def kept(folder):
    """Finished files of the store: name -> bytes."""
    found = (folder / "resources").glob("sentinelhub/*/*.tif")
    return {path.name: path.read_bytes() for path in found if not path.name.startswith(".")}


def test_killed_at_any_moment(tmp_path, monkeypatch):
    """After a power cut a torn block would pass for a whole one, or nothing go on."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = dict(os.environ)
    with SentinelHub(client_secret=SECRET) as server:
        server.fault("drip", seconds=0.5, times=None)
        once = make_project(tmp_path / "once")
        with start(once, server, environment) as process:
            begun = time.monotonic()
            assert process.wait() == 0
        took, whole = time.monotonic() - begun, kept(once)
        assert list(whole) == ["r275c308.tif"]
        folder, struck = make_project(tmp_path / "killed"), []
        for share in np.random.default_rng(7).permutation(np.linspace(0.02, 1.0, 8)):
            with start(folder, server, environment) as process:
                time.sleep(share * took)
                process.kill()
            struck.append(process.returncode)
            assert kept(folder) in ({}, whole)
            link = folder / LINK
            assert not link.is_symlink() or link.read_bytes() == whole["r275c308.tif"]
            for path in (link, *(folder / "resources").glob("sentinelhub/*/r275c308.tif")):
                path.unlink(missing_ok=True)  # but not what a kill has left aside
        assert struck.count(-9) >= 6, struck
        with start(folder, server, environment) as process:
            assert process.wait() == 0
    assert kept(folder) == whole and (folder / LINK).read_bytes() == whole["r275c308.tif"]
    with rasterio.open(folder / LINK) as source:
        bands = content_of_area()["compose"]["bands"]
        np.testing.assert_array_equal(
            source.read(range(1, 11)), right("2018-04", bands, box_of("r275c308"))
        )
