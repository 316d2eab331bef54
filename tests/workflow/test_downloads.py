"""Files of catalogues under the workflow: how many at once, what a kill at any moment leaves, what
comes when the account or the network fails, and where no secret may be."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from making import SMALL_AREA, simulated_scene, write_tif
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject
from running import ROOT, digests, planned, snakemake
from servers.areas import files_below
from servers.bdc import BdcServer
from servers.imagery import STEPS, right, simulated
from servers.lgi import LgiServer
from servers.stac import StacServer

DEAD = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
)
OPEN = DEAD | {"NO_PROXY": "127.0.0.1", "BDC_ACCESS_TOKEN": "", "OMP_NUM_THREADS": "1"}
SERVERS = {"whole": StacServer, "window": BdcServer}
"""Way of reading -> the server that files are read from."""
BANDS = ["B02", "B03", "B04"]
DAYS = ("2018-04-03", "2018-04-08", "2018-04-13", "2018-04-18")
WIDE = (396_000, 4_597_760, 406_240, 4_608_000)
"""Bounds of scenes of 1024 x 1024 px; the area is a small part, near the end of the files."""
FILES = len(DAYS) * len(BANDS)
KILLS = 10
"""Of each way of reading."""


def known_to(server):
    """Environment of a client of this server."""
    if isinstance(server, LgiServer):
        return OPEN | {"INPE_BASE_URL": server.url}
    name = "BDC_BASE_URL" if isinstance(server, BdcServer) else "STAC_BASE_URL"
    return OPEN | {name: server.api_url}


def run(folder, server, *arguments, **environment):
    return snakemake(folder, *arguments, **known_to(server) | environment)


def scenes(folder, collection="sentinel-2-l2a", days=DAYS, names="S2A_{}", bands=BANDS):
    """Scenes of noise, two megabytes a band: each has holes that the next one fills."""
    random, made = np.random.default_rng(3), []
    for number, day in enumerate(days):
        noise_BYX = random.integers(1, 4000, (3, 1024, 1024), np.uint16)
        noise_BYX[:, random.random((1024, 1024)) < 0.3 * (number < len(days) - 1)] = 0
        arrays = dict(zip(bands, noise_BYX, strict=True))
        steps = dict.fromkeys(bands, 10)
        more = {
            "bounds": WIDE,
            "bands": bands,
            "steps": steps,
            "arrays": arrays,
            "block": 256,
            "cloud": number,
        }
        name = names.format(day.replace("-", ""))
        made.append(simulated(folder, name, day, collection=collection, **more))
    return made


def content_of(source, collection="sentinel-2-l2a", **download):
    """The small area in four blocks, its imagery in a catalogue."""
    content = yaml.safe_load(SMALL_AREA)
    content["grid"]["block"] = 96
    chosen = {"collections": [collection], "layers": 0}
    chosen |= {"api": "http://127.0.0.1:9/not-this-one"} if source == "stac" else {}
    content["search"] = {"source": source, "catalogue": chosen, "periods": {"2018-04": {}}}
    return content | {"download": download}


def add_area(folder, name, content):
    """Write an area file; the names of its composed blocks."""
    path = folder / f"config/areas/{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return [f"results/{name}/compose/2018-04/r{r:03d}c{c:03d}.tif" for r in (0, 1) for c in (0, 1)]


def links(folder, name="kill"):
    """Downloads that are finished: their names below the area's folder."""
    root = folder / f"results/{name}/download"
    return {str(p.relative_to(root)) for p in root.rglob("*.tif") if not p.name.startswith(".")}


def whole_state(folder):
    """All that a run has left: name -> digest."""
    return {
        f"{part}/{name}": digest
        for part in ("resources", "results")
        for name, digest in digests(folder / part).items()
    }


def hidden_in(folder):
    """What lies aside, in a project's folder: name -> bytes."""
    paths = [Path(path) for path in files_below(folder) if "/.snakemake/" not in path]
    return {path: path.stat().st_size for path in paths if path.name.startswith(".")}


@pytest.fixture(scope="module", params=["whole", "window"])
def undisturbed(request, tmp_path_factory):
    """A run without trouble: server, names of its targets, the project, and what was said."""
    read, folder = request.param, tmp_path_factory.mktemp("undisturbed")
    source = "bdc" if read == "window" else "stac"
    with SERVERS[read](scenes(tmp_path_factory.mktemp("scenes"))) as server:
        server.fault("drip", seconds=0.6, times=None)
        targets = add_area(folder, "kill", content_of(source, read=read))
        begun = time.monotonic()
        done = run(folder, server, "--cores", "8", *targets)
        print(
            f"{read}: {FILES} files and {len(targets)} blocks in {time.monotonic() - begun:.1f} s"
        )
        assert done.returncode == 0, done.stdout
        yield server, targets, folder, done.stdout


def test_no_more_than_four_at_once(undisturbed):
    """A public service would be asked by as many processes as there are cores, and shut us out."""
    server, *_ = undisturbed
    assert 1 < server.busiest <= 4
    assert {request.status for request in server.seen()} <= {200, 206}


def test_how_far_it_is(undisturbed):
    """Nobody would know whether to wait an hour or a week."""
    _, _, folder, _ = undisturbed
    logs = [p.read_text() for p in (folder / "logs/kill/download").rglob("*.log")]
    found = [re.search(rf"(\d+) of {FILES} files, [\d.]+ MB", text) for text in logs]
    assert len(logs) == FILES and all(found)
    counts = {int(match[1]) for match in found}
    assert FILES in counts and len(counts) > FILES / 2
    assert any(re.search(r"MB/s; about \d+ s left", text) for text in logs)


# -------------------------------------------------------------------------------------- Catalonia
WINDOW = (446_480, 4_592_720, 448_400, 4_594_000)
"""Two rows of three blocks of 64 px on the coast; two of them hold nothing but sea."""
BLOCKS = {"r275c307": (0, 0), "r275c308": (0, 1), "r275c309": (0, 2), "r276c307": (1, 0)}
"""Name -> row and column in the window."""
TILES = {
    "31TDF": ((443_600, 4_590_000, 447_500, 4_595_000), 2.0),
    "31TDG": ((446_900, 4_590_000, 450_400, 4_595_000), 20.0),
    "31TEG": ((443_600, 4_590_000, 450_400, 4_595_000), 55.0),
}
"""Tile -> bounds and clouds: two that cover the window together, and one under clouds."""
SEASONS = {"2018-04": "2018-04-12", "2018-08": "2018-08-20"}


def without_an_account():
    """The area file with its second source of imagery instead of the first, as it says."""
    text = (ROOT / "config/areas/catalonia.yaml").read_text(encoding="utf-8")
    before, said, after = text.partition("# Without an account, from the open archive")
    assert said and len(before.partition("\nsearch:\n")[2].splitlines()) == 4
    lines = after.splitlines()[1:]
    count = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    kept = [before.partition("\nsearch:\n")[0], *(line[1:] for line in lines[:count])]
    return yaml.safe_load("\n".join([*kept, *lines[count:]]))


def content_of_catalonia():
    """Catalonia in blocks of 64 px, its labels on disk, its net a small one."""
    content = without_an_account()
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


def granules(folder, bands):
    """Scenes of both seasons, as Collection 1 has them: the offset is still in."""
    return [
        simulated(
            folder,
            f"S2A_T{tile}_{day.replace('-', '')}T105031_L2A",
            day,
            collection="sentinel-2-c1-l2a",
            **{"bounds": bounds, "bands": [*bands, "SCL"], "cloud": cloud, "tile": tile},
            **{"baseline": "05.00", "add": 1000},
        )
        for day in SEASONS.values()
        for tile, (bounds, cloud) in TILES.items()
    ]


def at_ten_metres(band, bounds, day):
    """Values of a scene's band on pixels of 10 m, by rasterio."""
    step, places = STEPS.get(band, 20), {}
    values_YX = (right(band, bounds, day) + 1000).astype(np.uint16)
    result_YX = np.zeros(tuple(side * step // 10 for side in values_YX.shape), np.uint16)
    for end, side in (("src", step), ("dst", 10)):
        places |= {f"{end}_transform": from_origin(bounds[0], bounds[3], side, side)}
        places |= {f"{end}_crs": "EPSG:32631", f"{end}_nodata": 0}
    reproject(values_YX, result_YX, resampling=Resampling.bilinear, **places)
    return np.maximum(result_YX.astype(int) - 1000, 1)


def right_block(season, bands, left, top):
    """What should be composed of a block, (band, y, x): the tile in the west, then the other."""
    result_BYX = np.zeros((len(bands), 64, 64), int)
    for tile in ("31TDG", "31TDF"):
        bounds, _ = TILES[tile]
        row, col = (bounds[3] - top) // 10, (left - bounds[0]) // 10
        start, end = max(col, 0), min(col + 64, (bounds[2] - bounds[0]) // 10)
        for plane_YX, band in zip(result_BYX, bands, strict=True):
            whole_YX = at_ten_metres(band, bounds, SEASONS[season])
            if end > start:
                plane_YX[:, start - col : end - col] = whole_YX[row : row + 64, start:end]
    assert (result_BYX > 0).all()
    return result_BYX


@pytest.fixture(scope="module")
def catalonia(tmp_path_factory):
    """A piece of Catalonia mapped from scenes of an open archive, and its server."""
    folder, content = tmp_path_factory.mktemp("catalonia"), content_of_catalonia()
    shutil.copytree(ROOT / "config", folder / "config")
    add_area(folder, "small", content)
    label_YX = np.array([0, 1, 7, 41], np.uint8)[simulated_scene(128, 192)[0]]
    fine_YX = np.kron(label_YX, np.ones((10, 10), np.uint8))
    write_tif(folder / "data/labels.tif", fine_YX, left=WINDOW[0], top=WINDOW[3], step=1.0)
    made = granules(tmp_path_factory.mktemp("granules"), content["compose"]["bands"])
    with StacServer(made) as server:
        begun = time.monotonic()
        done = run(folder, server, "--cores", "4", "results/small_landcover.tif")
        print(f"mapped in {time.monotonic() - begun:.1f} s")
        assert done.returncode == 0, done.stdout
        yield folder, server


def test_the_other_source_of_catalonia(catalonia):
    """What the area file says of another source could not be done, or gave another place."""
    folder, server = catalonia
    with rasterio.open(folder / "results/small_landcover.tif") as source:
        map_YX = source.read(1)
        assert source.crs == "EPSG:32631" and tuple(source.bounds) == WINDOW
    expected = np.zeros((128, 192), bool)
    for row, col in BLOCKS.values():
        expected[row * 64 : row * 64 + 64, col * 64 : col * 64 + 64] = True
    np.testing.assert_array_equal(map_YX > 0, expected)
    assert planned(folder, "results/small_landcover.tif") == {}
    asked = {request.path for request in server.seen("asset")}
    assert len(asked) == 2 * 2 * 10 and not [path for path in asked if "31TEG" in path]
    assert all(request.range for request in server.seen("asset")) and server.busiest <= 4


def test_every_pixel_of_two_tiles(catalonia):
    """Bands of 20 m would be shifted, the offset be left in, or tiles not be joined."""
    folder, _ = catalonia
    bands = content_of_catalonia()["compose"]["bands"]
    for season in SEASONS:
        found = sorted((folder / f"results/small/compose/{season}").glob("*.tif"))
        assert [path.stem for path in found] == sorted(BLOCKS)
        for path in found:
            row, col = BLOCKS[path.stem]
            with rasterio.open(path) as source:
                np.testing.assert_array_equal(
                    source.read(),
                    right_block(season, bands, WINDOW[0] + col * 640, WINDOW[3] - row * 640),
                )


def test_a_larger_window_reads_more(catalonia):
    """The parts that were read for a pilot would be taken for the whole: a map with holes."""
    folder, server = catalonia
    path, content = folder / "config/areas/small.yaml", content_of_catalonia()
    text, asked = path.read_text(), server.count("asset")
    content["window"][0] -= 640
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        done = run(folder, server, "results/small/compose/2018-08/r275c306.tif")
    finally:
        path.write_text(text)
    assert done.returncode == 0, done.stdout
    assert len({r.path for r in server.seen("asset")[asked:]}) == 2 * 10
    bands = content["compose"]["bands"]
    with rasterio.open(folder / "results/small/compose/2018-08/r275c306.tif") as source:
        wanted = right_block("2018-08", bands, WINDOW[0] - 640, WINDOW[3])
        np.testing.assert_array_equal(source.read(), wanted)


# ---------------------------------------------------------------------------------------- kills
def begin(folder, server, *arguments):
    """Snakemake, and all that it starts, in a group of processes of their own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path} | known_to(server)
    line = ["snakemake", "--cores", "2", "-s", ROOT / "Snakefile", "--directory", folder]
    with (folder / "said.txt").open("a") as said:
        pipes = {"stdout": said, "stderr": subprocess.STDOUT, "start_new_session": True}
        return subprocess.Popen([*line, *arguments], env=env, cwd=folder, **pipes)


def end(process, seconds, look):
    """Kill the group after a time; what `look` saw right before, None if it had ended by then."""
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        seen = look()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return seen
    return None


def strike(folder, server, targets, moments):
    """Run until the targets are there, killing it after each of `moments`; what was seen before
    each kill: the files that were finished, and the number of requests so far."""
    seen, left = [], set()
    for seconds in moments:
        process = begin(folder, server, *targets)
        found = end(process, seconds, lambda: (links(folder), server.count()))
        if found is None:
            break
        seen.append(found)
        left |= {re.sub(r"\d+-[0-9a-f]{8}", "N", path.name) for path in hidden_in(folder)}
        assert run(folder, server, "--unlock", *targets).returncode == 0
    else:
        done = run(folder, server, *targets)
        assert done.returncode == 0, done.stdout
    return seen, left


def test_killed_at_any_moment(undisturbed, tmp_path):
    """After a power cut files would be torn, come again, or the same command not go on."""
    server, targets, once, _ = undisturbed
    random, expected = np.random.default_rng(11), whole_state(once)
    name_of = {
        server.asset_path(scene, band): f"2018-04/{scene.id}/{server.key(band)}.tif"
        for scene in server.scenes
        for band in BANDS
    }
    kills, rounds, aside_once = 0, 0, set()
    while kills < KILLS:
        folder = tmp_path / f"round{rounds}"
        shutil.copytree(once / "config", folder / "config")
        moments = random.uniform(2.0, 6.0, KILLS - kills)
        seen, left = strike(folder, server, targets, moments)
        server.settle()
        requests = server.seen()
        for finished, number in seen:
            assert not finished & {name_of.get(r.path) for r in requests[number:]}
        for path, size in hidden_in(folder).items():
            print(f"left for good: {path.name}, {size} bytes")  # a lock, or a note
            assert size < 2000
            path.unlink()
        assert whole_state(folder) == expected
        kills, rounds, aside_once = kills + len(seen), rounds + 1, aside_once | left
        print(f"{len(seen)} kills, after which there were", [len(f) for f, _ in seen], "files")
    print(f"{kills} kills in {rounds} runs; for a time there were {sorted(aside_once)}")
    asked = server.count("asset")
    assert run(folder, server, "--forceall", *targets).returncode == 0
    assert server.count("asset") == asked and whole_state(folder) == expected


def test_what_a_kill_has_left_is_cleared(undisturbed, tmp_path):
    """Halves of scenes would fill the disk, one more with each kill."""
    server, _, once, _ = undisturbed
    folder = tmp_path / "cleared"
    shutil.copytree(once, folder, symlinks=True)
    name = next(iter(sorted(links(folder))))
    link, expected = folder / "results/kill/download" / name, whole_state(folder)
    kept = link.resolve()
    kept.unlink()
    for suffix in ("partial", "partial.json", "lock"):
        kept.with_name(f".{kept.name}.{suffix}").write_text("half of it")
    target = str(link.relative_to(folder))
    done = run(folder, server, "--forcerun", "download", "--", target)
    assert done.returncode == 0, done.stdout
    assert hidden_in(folder) == {} and whole_state(folder) == expected


# --------------------------------------------------------------------------------------- secrets
TOKEN, EMAIL = "t0k3n-that-nobody-may-see", "who-nobody-may-see@example.org"
LGI = {"collection": "CBERS4A_WPM_L4_DN", "names": "CBERS4A_WPM200140{}"}


def of_bdc(folder):
    return BdcServer(scenes(folder, days=DAYS[:1]), token=TOKEN), content_of("bdc", read="window")


def of_dgi(folder):
    found = scenes(folder, days=DAYS[:1], bands=["BAND1", "BAND2", "BAND3"], **LGI)
    content = content_of("dgi", LGI["collection"], read="whole")
    content["compose"] = {"bands": ["blue", "green", "red"]}
    return LgiServer(found, emails=[EMAIL]), content


def of_signed_items(folder):
    server = StacServer(scenes(folder, days=DAYS[:1]), signed=True)
    return server, content_of("stac", read="whole", sign="item")


@pytest.mark.parametrize("of", [of_bdc, of_dgi, of_signed_items])
def test_no_secret_is_anywhere(of, tmp_path):
    """Results, logs and the report, which people share, would hold a token or an address."""
    folder, given = tmp_path / "project", {"BDC_ACCESS_TOKEN": TOKEN, "INPE_EMAIL": EMAIL}
    served, content = of(tmp_path / "scenes")
    with served as server:
        targets = add_area(folder, "secret", content)[:1]
        where = "download" if isinstance(server, LgiServer) else "asset"
        told = f"no right with {TOKEN if isinstance(server, BdcServer) else EMAIL}"
        server.fault("403", path=where, number=1, message=told)
        server.fault("500", path=where, number=3, message=told)
        server.fault("reset", number=2, keep=0.5)
        server.fault("redirect_elsewhere", number=4)
        said = [run(folder, server, *targets, **given)]
        said += [run(folder, server, "--report", "results/report.html", *targets, **given)]
        assert [each.returncode for each in said] == [0, 0], said
        shutil.rmtree(folder / "resources")
        server.fault("403", path=where, times=None, message=told)
        said += [run(folder, server, "--forcerun", "download", "--", *targets, **given)]
        assert said[-1].returncode == 1 and "status 403" in said[-1].stdout
        secrets = {TOKEN, EMAIL} | {request.args.get("sig") for request in server.seen()} - {None}
    assert len(secrets) > 5 or of is not of_signed_items
    texts = {path: Path(path).read_bytes() for path in files_below(folder) if Path(path).exists()}
    texts |= {f"call {number}": each.stdout.encode() for number, each in enumerate(said)}
    assert any("/.snakemake/" in path for path in texts) and any("/logs/" in path for path in texts)
    for secret in secrets:
        for form in (secret, urllib.parse.quote(secret, safe="")):
            assert not [path for path, text in texts.items() if form.encode() in text]
