"""download and compose of imagery that a local Sentinel Hub serves: the right pixels, one request
a block, and no secret anywhere."""

import base64
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from servers.areas import (
    BANDS,
    BLOCK,
    BOUNDS,
    BOX,
    NAMES,
    PERIODS,
    SECRET,
    become_client,
    files_below,
    hub_area,
    known_to,
    right,
    right_block,
)
from servers.scenes import coordinate_scene
from servers.sentinel_hub import SentinelHub
from stages.stage_steps import mapmill, pasted, read, refused_cleanly

MAIN = "import sys; from mapmill.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder of its own; it is the cwd, and its own home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def server(monkeypatch):
    with SentinelHub(client_secret=SECRET) as server:
        become_client(server, monkeypatch)
        yield server


def block_of(area, period=PERIODS[0], name=BLOCK):
    """Name of the file, and where it is linked."""
    return f"{period}/{name}.tif", Path(f"results/{area.stem}/download/{period}/{name}.tif")


def download(area, period=PERIODS[0], name=BLOCK):
    """Ask for one block; the file in the store."""
    file, link = block_of(area, period, name)
    mapmill("download", area, file, link)
    return link.resolve()


def compose(area, period=PERIODS[0], name=BLOCK):
    mapmill("compose", area, period, name, f"results/{area.stem}/compose/{period}/{name}.tif")


def command_line(*arguments, **environment):
    """Run one command as a user does, in a process of its own."""
    line = [sys.executable, "-c", MAIN, *map(str, arguments)]
    env = os.environ | environment
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:25831"])
def test_every_pixel_of_every_block(server, crs):
    """Blocks would be shifted, swapped or cut at the edges, or bands and seasons be mixed."""
    area = hub_area(crs=crs)
    for period in PERIODS:
        for name in NAMES:
            kept = download(area, period, name)
            compose(area, period, name)
            with rasterio.open(kept) as source:
                assert source.crs == crs and set(source.dtypes) == {"uint16"}
        folder = Path(f"results/hub/compose/{period}")
        assert [path.stem for path in sorted(folder.glob("*.tif"))] == list(NAMES)
        np.testing.assert_array_equal(pasted(folder), right(period))
        with rasterio.open(folder / "r001c002.tif") as edge:
            assert edge.crs == crs and edge.shape == (32, 32)
            assert edge.descriptions == tuple(BANDS) and edge.bounds.right == BOUNDS[2]
    boxes = [request.bbox for request in server.seen("process", status=200)]
    assert len(boxes) == len(NAMES) * len(PERIODS) and len(set(boxes)) == len(NAMES)
    assert {
        r.json["input"]["bounds"]["properties"]["crs"][-5:] for r in server.seen("process")
    } == {"32631"}


def test_classification_and_mask_are_kept():
    """Clouds and gaps could be looked at only by paying again."""
    part = (BOX[0], BOX[1], BOX[0] + 480, BOX[3])
    with SentinelHub(coverage=part, clouds=0.6) as server, pytest.MonkeyPatch.context() as patch:
        become_client(server, patch)
        kept = download(hub_area())
    with rasterio.open(kept) as source:
        assert source.descriptions == (*BANDS, "SCL", "dataMask") and source.nodata == 0
        image_BYX = source.read()
    *bands_BYX, scl_YX, mask_YX = image_BYX[..., :48]
    assert (mask_YX == 1).all() and not image_BYX[..., 48:].any()
    cloudy = scl_YX == 9
    assert 0.1 < cloudy.mean() < 0.9 and (scl_YX[~cloudy] == 4).all()
    expected = np.where(cloudy, 9000, right(PERIODS[0], bounds=BOX)[..., :48])
    np.testing.assert_array_equal(bands_BYX, expected)


def test_a_dark_pixel_is_no_hole(server):
    """Lakes would have holes: a reflectance that the service cuts off at 0 is no missing value."""

    def dark(*place):
        image_BYX = coordinate_scene(*place)
        image_BYX[0, :5], image_BYX[:, 60:] = 0, 0
        return image_BYX

    server.scene = dark
    area = hub_area()
    image_BYX = read(download(area))
    compose(area)
    expected = right_block()
    expected[0, :5], expected[:, 60:] = 1, 0
    np.testing.assert_array_equal(image_BYX, expected)
    np.testing.assert_array_equal(read(f"results/hub/compose/2018-04/{BLOCK}.tif"), expected[:3])


def test_reflectance_as_float(server):
    """An area of float32 would take missing pixels for values of 0."""
    server.coverage = (BOX[0], BOX[1], BOX[0] + 320, BOX[3])
    area = hub_area()
    area.write_text(area.read_text().replace("compose:\n", "compose:\n  dtype: float32\n"))
    download(area)
    compose(area)
    image_BYX = read(f"results/hub/compose/2018-04/{BLOCK}.tif")
    assert image_BYX.dtype == np.float32 and np.isnan(image_BYX[..., 32:]).all()
    np.testing.assert_array_equal(image_BYX[..., :32], right_block()[:3, :, :32])


def test_settings_reach_the_service(server):
    """The choice among the acquisitions would stay in the area file."""
    area = hub_area(mosaic="most-recent", max_cloud=20, collection="sentinel-2-l2a")
    download(area)
    (request,) = server.seen("process")
    wanted = request.json["input"]["data"][0]["dataFilter"]
    assert wanted["mosaickingOrder"] == "mostRecent" and wanted["maxCloudCoverage"] == 20
    assert request.headers["Accept"] == "application/x-tar"
    assert request.headers["User-Agent"].startswith("mapmill/")
    assert request.headers["Content-Type"] == "application/json"


def median_of_clear(samples):
    """What the script of the clear median does, in Python."""
    clear = [(s["dataMask"] == 1) & ~np.isin(s["SCL"], (0, 1, 3, 8, 9, 10)) for s in samples]
    found = {}
    for name in (*BANDS, "SCL"):
        stack = np.where(clear, [s[name].astype(int) for s in samples], 10**6)
        middle = np.maximum(np.sum(clear, axis=0) - 1, 0) // 2
        found[name] = np.take_along_axis(np.sort(stack, axis=0), middle[None], 0)[0]
    mask_YX = np.any(clear, axis=0)
    bands_BYX = np.stack([found[name] for name in BANDS]) * mask_YX
    return {"bands": bands_BYX, "scl": (found["SCL"] * mask_YX)[None], "mask": mask_YX[None]}


def test_the_clear_median_sees_through_clouds(monkeypatch):
    """Half of the pixels would be white."""
    with SentinelHub(clouds=0.5, evaluate=median_of_clear) as server:
        become_client(server, monkeypatch)
        kept = download(hub_area(mosaic="clear-median"))
    *bands_BYX, scl_YX, mask_YX = read(kept)
    assert mask_YX.mean() > 0.9 and (scl_YX == 4 * mask_YX).all()
    np.testing.assert_array_equal(bands_BYX, right_block()[:3] * mask_YX)


def test_nothing_is_asked_for_twice(server):
    """A rerun, or a second area on the same grid, would pay again."""
    area = hub_area()
    kept = download(area)
    before, told = kept.read_bytes(), kept.stat().st_mtime_ns
    block_of(area)[1].unlink()
    assert download(area) == kept
    other = hub_area("twin", empty="accept", deployment="copernicus")
    other.write_text(other.read_text().replace("Simulated test area", "Another title"))
    assert download(other) == kept
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == (before, told)
    assert server.count("token") == server.count("process") == 1
    download(hub_area("cloudless", max_cloud=10))
    assert server.count("process") == 2


def test_one_token_for_one_job(server):
    """The endpoint of tokens is limited too: attempts would use it up."""
    server.fault("502", times=2)
    download(hub_area())
    assert server.count("token") == 1 and server.count("process") == 3
    (form,) = {request.body for request in server.seen("token")}
    assert form.startswith(b"grant_type=client_credentials&client_id=local-client&client_secret=")
    assert server.seen("token")[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert server.seen("token")[0].authorization is None


def test_a_netrc_file_changes_nothing(server, tmp_path, monkeypatch):
    """Somebody's password for another service of that host would be sent instead of the token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    download(hub_area())
    said = [request.authorization or "" for request in server.seen()]
    assert [text.partition(" ")[0] for text in said] == ["", "Bearer"]


@pytest.mark.parametrize("missing", ["SH_CLIENT_ID", "SH_CLIENT_SECRET"])
@pytest.mark.parametrize("value", [None, "", " \n"])
def test_credentials_from_the_environment_alone(server, capsys, monkeypatch, missing, value):
    """A user would be told of a failed request, or be asked for a secret in a file."""
    if value is None:
        monkeypatch.delenv(missing)
    else:
        monkeypatch.setenv(missing, value)
    area = hub_area()
    file, _ = block_of(area)
    line = refused_cleanly(capsys, "download", area, file, Path("out") / file)
    assert f"no {missing} in the environment" in line and f"export {missing}=..." in line
    assert server.count() == 0 and not list(Path("resources").rglob("*.tif"))


def test_settings_with_blanks(server, monkeypatch):
    """A line break at the end of a secret that was pasted would be a wrong secret."""
    for name, value in known_to(server).items():
        monkeypatch.setenv(name, f" {value}\n")
    monkeypatch.setenv("SH_BASE_URL", f"{server.url}/")
    np.testing.assert_array_equal(read(download(hub_area())), right_block())


def test_a_block_that_is_not_worked_on(server, capsys):
    """Money would be spent on a block outside the window."""
    area = hub_area()
    area.write_text(area.read_text() + "window: [400000, 4599360, 400640, 4600000]\n")
    file, _ = block_of(area)
    line = refused_cleanly(capsys, "download", area, file, Path("out") / file)
    assert "outside window or aoi" in line and server.count() == 0


def test_an_empty_block_that_was_kept(monkeypatch, capsys):
    """An empty block, once accepted, would pass for ever."""
    with SentinelHub(coverage=(0, 0, 1, 1)) as server:
        become_client(server, monkeypatch)
        kept = download(hub_area(empty="accept"))
        assert not read(kept).any()
        area = hub_area("strict")
        file, _ = block_of(area)
        line = refused_cleanly(capsys, "download", area, file, Path("out") / file)
        assert "no pixel with data" in line and server.count("process") == 1


def test_what_killed_runs_left_is_cleared(server):
    """Folders of killed runs would fill the disk, or that of a run at work be deleted."""
    old, new = Path("resources/.sentinelhub-old"), Path("resources/.sentinelhub-new")
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "served.tar").write_bytes(b"x")
    long_ago = time.time() - 2 * 86_400
    os.utime(old, (long_ago, long_ago))
    download(hub_area())
    assert not old.exists() and new.exists()


def secrets_of(server):
    """Everything that may be nowhere: the secret, the tokens, and the pair in base64."""
    pair = f"{server.client_id}:{server.client_secret}".encode()
    tokens = [r.authorization.partition(" ")[2] for r in server.seen("process")]
    parts = [part for token in tokens for part in (token, token.split(".")[1], token[-20:])]
    return [SECRET, base64.b64encode(pair).decode(), *parts]


def tags_of(path):
    with rasterio.open(path) as source:
        spaces = [None, *source.tag_namespaces()]
        return str([source.tags(ns=space) for space in spaces])


@pytest.mark.parametrize("fault", [None, "401", "429", "400", "short_body", "html200", "zeros"])
def test_no_secret_anywhere(server, fault):
    """The secret of an account would stay in a log, a file or a message, and be published."""
    if fault:
        server.fault(fault, times=None if fault in ("401", "zeros") else 1)
    area = hub_area()
    file, link = block_of(area)
    done = command_line("download", area, file, link)
    assert (done.returncode == 0) is (fault in (None, "429", "short_body", "html200")), done.stderr
    assert "Traceback" not in done.stderr
    secrets, said = secrets_of(server), done.stdout + done.stderr
    assert len(secrets) > 4
    Path("log.txt").write_text(said)
    if done.returncode == 0:
        done = command_line("compose", area, PERIODS[0], BLOCK, f"out/{BLOCK}.tif")
        assert done.returncode == 0, done.stderr
        said += tags_of(link) + tags_of(f"out/{BLOCK}.tif")
    for path in files_below():
        content = Path(path).read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path
        assert not [secret for secret in secrets if secret in path]
    assert not [secret for secret in secrets if secret in said]


def test_the_token_in_a_message_is_left_out(server, capsys):
    """A service, or a proxy, that repeats a request would have its token in the log."""
    repeated = []
    server.fault("400", message="")
    area = hub_area()
    file, _ = block_of(area)

    def repeat(request):
        repeated.append(request.authorization)
        server.faults[0].options["message"] = f"refused: {request.authorization}\x1b[31m\n!"
        return True

    server.faults[0].match = repeat
    line = refused_cleanly(capsys, "download", area, file, Path("out") / file)
    assert "refused: Bearer ..." in line and repeated[0].split()[1] not in line
    assert "\x1b" not in line


def test_the_secret_in_a_message_is_left_out(server, capsys):
    """The same, where tokens are given out."""
    content = {"error": "invalid_client", "error_description": f"no client with {SECRET}"}
    server.fault("answer", path="token", status=401, content=content)
    area = hub_area()
    file, _ = block_of(area)
    line = refused_cleanly(capsys, "download", area, file, Path("out") / file)
    assert "status 401 Unauthorized (no client with ...)" in line
    assert "check SH_CLIENT_ID and SH_CLIENT_SECRET" in line


def test_no_secret_in_the_list_of_processes(server):
    """Other users of the computer would read the secret with `ps`."""
    server.fault("stall", seconds=30)
    area = hub_area()
    file, link = block_of(area)
    line = [sys.executable, "-c", MAIN, "download", str(area), file, str(link)]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        while not server.count("process") and process.poll() is None:
            time.sleep(0.01)
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False)
        lines = Path(f"/proc/{process.pid}/cmdline").read_text() + shown.stdout
        process.kill()
    assert "download" in lines and server.count("process") == 1
    assert not [secret for secret in secrets_of(server) if secret in lines]


@pytest.mark.once
def test_two_at_once(server):
    """Two jobs that ask for one block at a time would spoil each other's file."""
    area = hub_area()
    server.fault("stall", seconds=0.3, times=None)
    codes = []
    file, link = block_of(area)
    run = lambda: codes.append(command_line("download", area, file, link).returncode)  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    np.testing.assert_array_equal(read(link), right_block())
    left = [
        path
        for path in files_below("resources")
        if not re.search(r"/r\d{3}c\d{3}\.tif(\.json)?$", path)
    ]
    assert left == [] and not list(Path("resources").glob(".sentinelhub-*"))


def test_a_service_without_encryption_is_told(server, monkeypatch, capsys):
    """A secret would be sent in plain text to another computer, and nobody know."""
    monkeypatch.setenv("SH_TOKEN_URL", "http://user:word@name.invalid/token?key=1")
    monkeypatch.setattr("mapmill.catalogue.http.BACKOFF_S", 0.01)
    area = hub_area()
    file, _ = block_of(area)
    capsys.readouterr()
    line = refused_cleanly(capsys, "download", area, file, Path("out") / file)
    assert line.startswith("mapmill download: http://name.invalid/token: found no answer")
