"""Whatever goes wrong between mapmill and Sentinel Hub ends in the right file, or in one clear line
with nothing left behind. The outcomes are the table in docs/downloads.md."""

import gzip
import io
import re
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from running import ROOT
from servers.answers import archive
from servers.areas import (
    BLOCK,
    BOX,
    SECRET,
    become_client,
    files_below,
    hub_area,
    right_block,
)
from servers.sentinel_hub import SentinelHub
from stages.stage_steps import mapmill, read, refused_cleanly

from mapmill.catalogue import answers, http, keep
from mapmill.errors import CatalogueError

FILE = f"2018-04/{BLOCK}.tif"
OUT = Path("out") / FILE
RECOVERED = "right in the end"
FOREVER = {"times": None}
ROWS = {}
"""Title -> (outcome, requests) of each case that has run."""


@dataclass(frozen=True)
class Case:
    """What goes wrong, one fault or several in turn, and what comes of it."""

    title: str
    faults: tuple
    outcome: str = RECOVERED
    """Or words of the one line."""
    asked: tuple = (1, 1)
    """Requests for tokens, and for blocks."""
    settings: dict = None
    patience_s: float = 120.0


def fault(name, **options):
    return name, options


def token(name, **options):
    return name, {"path": "token"} | options


# ------------------------------------------------------------------------------ hostile answers
def tiff(width=64, height=64, count=3, dtype="uint16", **more):
    """A GeoTIFF without pixels of its own."""
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype}
    place = {"crs": "EPSG:32631", "transform": from_origin(BOX[0], BOX[3], 10, 10)}
    with MemoryFile() as memory:
        with memory.open(**profile | place | more, sparse_ok=True):
            pass
        return bytes(memory.read())


def huge(size, tile=4096):
    """A GeoTIFF of `size` px a side, which takes no room until it is read."""
    return tiff(size, size, tiled=True, blockxsize=tile, blockysize=tile)


def members(**changed):
    """A whole archive, some members replaced."""
    layers = {name: tiff(count=1, dtype="uint8") for name in ("scl.tif", "mask.tif")}
    return {"bands.tif": tiff()} | layers | {f"{k}.tif": v for k, v in changed.items()}


def tar_with(*entries):
    """An archive of entries that need no content."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, kind, more in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            for key, value in more.items():
                setattr(entry, key, value)
            tar.addfile(entry)
    return target.getvalue()


def sparse(size):
    """An archive whose member is a hole of `size` bytes, in a block of 512."""
    header = bytearray(tarfile.TarInfo("bands.tif").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:398] = b"%011o\0" % 0
    header[398:410] = b"%011o\0" % 0
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % sum(header[:148] + b" " * 8 + header[156:])
    return bytes(header) + bytes(1024)


VRT = b"""<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="UInt16" band="1">
<SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
LINKS = ((f"{name}.tif", tarfile.SYMTYPE, {"linkname": "/etc/passwd"}) for name in ("bands", "scl"))
ELSEWHERE = {f"../../../escape/{name}": content for name, content in members().items()}
ABSOLUTE = {f"/tmp/{name}": content for name, content in members().items()}
JSON = {"Content-Type": "application/json"}
TAR = {"Content-Type": "application/x-tar"}
ZIPPED = TAR | {"Content-Encoding": "gzip"}


def answer(body, headers=TAR):
    return fault("answer", body=body, headers=headers, times=None)


NO_TAR = "found no whole tar"
CASES = [
    # tokens
    Case("token: 401", (token("401"),), "status 401 Unauthorized (Invalid client or", (1, 0)),
    Case("token: 403", (token("403"),), "status 403 Forbidden", (1, 0)),
    Case("token: 429, then well", (token("429", times=2),), asked=(3, 1)),
    Case("token: 500, then well", (token("500", times=2),), asked=(3, 1)),
    Case("token: 500 always", (token("500", **FOREVER),), "(Internal error), 5 times", (5, 0)),
    Case("token: a page with 200, once", (token("html200"),), asked=(2, 1)),
    Case(
        "token: a page with 200, always",
        (token("html200", **FOREVER),),
        "no token in an answer of text/html",
        (3, 0),
    ),
    Case(
        "token: JSON without a token",
        (token("answer", content={"access_token": None}, **FOREVER),),
        "no token in an answer of application/json",
        (3, 0),
    ),
    Case(
        "token: one that is no header",
        (token("answer", content={"access_token": "a\r\nX: y"}, **FOREVER),),
        "no token in an answer",
        (3, 0),
    ),
    Case(
        "token: JSON without end",
        (token("answer", body=b"[" * 10**6, headers=JSON, **FOREVER),),
        "no token in an answer",
        (3, 0),
    ),
    Case(
        "token: a body of 64 MiB", (token("oversize", **FOREVER),), "no token in an answer", (3, 0)
    ),
    Case("token: short body", (token("short_body"),), asked=(2, 1)),
    Case("token: connection reset", (token("reset"),), asked=(2, 1)),
    Case("token: stall", (token("stall", seconds=3),), asked=(2, 1)),
    Case("token: redirect", (token("redirect_elsewhere"),), "status 307 Temporary", (1, 0)),
    # busy
    Case("429 with milliseconds, twice", (fault("429", times=2, retry_after=60),), asked=(1, 3)),
    Case("429 without Retry-After", (fault("429", retry_after=None),), asked=(1, 2)),
    Case("429 with a date", (fault("429", retry_after="date"),), asked=(1, 2)),
    Case("429 with a fraction", (fault("429", retry_after="1.5"),), asked=(1, 2)),
    Case("429 with words", (fault("429", retry_after="a while"),), asked=(1, 2)),
    Case("429 without the wrapper", (fault("429", wrapped=False),), asked=(1, 2)),
    Case("429 always", (fault("429", **FOREVER),), "exceeded your rate limit), 5 times", (1, 5)),
    Case("429 for ten hours", (fault("429", retry_after=36_000_000),), "to wait 36000 s", (1, 1)),
    Case("503 for ten hours", (fault("503", retry_after=36_000),), "to wait 36000 s", (1, 1)),
    Case("500", (fault("500"),), asked=(1, 2)),
    Case("502", (fault("502"),), asked=(1, 2)),
    Case("503", (fault("503"),), asked=(1, 2)),
    Case("504", (fault("504"),), asked=(1, 2)),
    Case(
        "502, 500, reset, 429 in turn",
        (fault("502"), fault("500"), fault("reset"), fault("429")),
        asked=(1, 5),
    ),
    Case(
        "500 always", (fault("500", message="Script failed", **FOREVER),), "(Script failed)", (1, 5)
    ),
    Case("502 always", (fault("502", **FOREVER),), "a page of text/html, 5 times", (1, 5)),
    # refused
    Case("the token ends", (fault("expired"),), asked=(2, 2)),
    Case("401 for every token", (fault("401", **FOREVER),), "401 with a fresh token", (2, 2)),
    Case("400", (fault("400", message="No band B99"),), "status 400 Bad Request (No band B99)"),
    Case("403", (fault("403"),), "403 Forbidden (You have exceeded your monthly quota.)"),
    Case("404", (fault("answer", status=404),), "status 404 Not Found"),
    Case("204, no content", (fault("answer", status=204),), "status 204 No Content"),
    # not the file
    Case("a page with 200, once", (fault("html200"),), asked=(1, 2)),
    Case("a page with 200, always", (fault("html200", **FOREVER),), "answer of text/html", (1, 3)),
    Case(
        "a page that is called a tar",
        (fault("html200", content_type="application/x-tar", **FOREVER),),
        NO_TAR,
        (1, 3),
    ),
    Case("JSON error with 200, once", (fault("json200"),), asked=(1, 2)),
    Case(
        "JSON error with 200, always", (fault("json200", **FOREVER),), "of application/json", (1, 3)
    ),
    Case("nothing with 200", (answer(b""),), NO_TAR, (1, 3)),
    # not whole
    Case("short body", (fault("short_body"),), asked=(1, 2)),
    Case("short body in chunks", (fault("short_body", chunked=True),), asked=(1, 2)),
    Case(
        "short body always", (fault("short_body", **FOREVER),), "an answer that breaks off", (1, 5)
    ),
    Case("no length, whole", (fault("unframed"),)),
    Case("no length, half, once", (fault("unframed", keep=0.5),), asked=(1, 2)),
    Case("no length, half, always", (fault("unframed", keep=0.3, **FOREVER),), "bands.tif", (1, 3)),
    Case("truncated, lengths agree, once", (fault("truncated", keep=0.6),), asked=(1, 2)),
    Case(
        "truncated, lengths agree, always",
        (fault("truncated", keep=0.6, **FOREVER),),
        "no readable raster",
        (1, 3),
    ),
    Case("missing member, once", (fault("missing_member"),), asked=(1, 2)),
    Case("missing member, always", (fault("missing_member", **FOREVER),), "no mask.tif", (1, 3)),
    # whole and wrong
    Case("a pixel too few", (fault("wrong_size"),), "(3, 63, 63) uint16"),
    Case("pixels too many", (fault("wrong_size", by=3),), "(3, 67, 67) uint16"),
    Case("a band too few", (fault("wrong_bands"),), "(2, 64, 64) uint16"),
    Case("bands too many", (fault("wrong_bands", bands=5),), "(5, 64, 64) uint16"),
    Case("another CRS", (fault("wrong_crs"),), "found EPSG:32630"),
    Case("a pixel to the east", (fault("wrong_place"),), "found EPSG:32631 (10.0, 0.0, 400650.0"),
    Case("a pixel to the south", (fault("wrong_place", east=0, south=1),), "4599990.0)"),
    Case("another type", (fault("wrong_type"),), "(3, 64, 64) float32"),
    Case("nothing there", (fault("zeros"),), "no pixel with data"),
    Case("nothing there, `empty: accept`", (fault("zeros"),), settings={"empty": "accept"}),
    Case(
        "bands of 0, a full mask", (fault("zeros", only=("bands",)),), "nothing but 0 in all bands"
    ),
    Case("an empty mask, full bands", (fault("zeros", only=("mask",)),), "no pixel with data"),
    # the network
    Case("connection reset", (fault("reset"),), asked=(1, 2)),
    Case("reset in the middle", (fault("reset", keep=0.5),), asked=(1, 2)),
    Case("connection reset always", (fault("reset", **FOREVER),), "no answer (Conn", (1, 5)),
    Case("stall", (fault("stall", seconds=3),), asked=(1, 2)),
    Case("stall in the middle", (fault("stall", seconds=3, keep=0.5),), asked=(1, 2)),
    Case(
        "stall always", (fault("stall", seconds=3, **FOREVER),), "no answer (ReadTimeout)", (1, 5)
    ),
    Case("slow drip", (fault("drip", seconds=1.0),)),
    Case(
        "drip without end",
        (fault("drip", seconds=60, pieces=300, **FOREVER),),
        "slower than 1000 bytes a second, 5 times",
        (1, 5),
        patience_s=0.3,
    ),
    Case("redirect loop", (fault("redirect_loop", **FOREVER),), "status 307 Temporary Redirect"),
    Case("redirect to another host", (fault("redirect_elsewhere"),), "status 307 Temporary"),
    Case(
        "redirect to another host by 302", (fault("redirect_elsewhere", status=302),), "status 302"
    ),
    # too much, and worse
    Case("a body of 1 TiB, told", (fault("oversize", size=2**40),), "1099511627776 bytes"),
    Case("a body of 1 TiB, not told", (fault("oversize", size=2**40, length=False),), "over 1"),
    Case("a compressed bomb", (answer(gzip.compress(bytes(2**26)), ZIPPED),), "over 1"),
    Case("a compressed tar", (answer(gzip.compress(archive(members()))),), NO_TAR, (1, 3)),
    Case("names that lead elsewhere", (answer(archive(ELSEWHERE)),), "no bands.tif", (1, 3)),
    Case("absolute names", (answer(archive(ABSOLUTE)),), "no bands.tif", (1, 3)),
    Case("links to other files", (answer(tar_with(*LINKS)),), "no bands.tif", (1, 3)),
    Case("a member of 1 TiB of nothing", (answer(sparse(2**40)),), "no bands.tif", (1, 3)),
    Case(
        "a raster that names other files",
        (answer(archive(members(bands=VRT))),),
        "no GeoTIFF in",
        (1, 3),
    ),
    Case(
        "an image of 60,000 px of nothing",
        (answer(archive(members(bands=huge(60_000)))),),
        "(3, 60000, 60000)",
    ),
    Case(
        "tiles of 32,768 px",
        (answer(archive(members(bands=huge(64, 32_768)))),),
        "tiles of a monstrous size",
        (1, 3),
    ),
]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server, its account in the environment; a clean folder; short waits."""
    (tmp_path / "deep/deeper/project").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/deeper/project")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 0.4))
    with SentinelHub(client_secret=SECRET) as server:
        become_client(server, monkeypatch)
        yield server


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_whatever_goes_wrong(server, capsys, monkeypatch, tmp_path, case):
    """A bad answer would become part of a map, or a page of Python be all that a user sees."""
    monkeypatch.setattr(answers, "PATIENCE_S", case.patience_s)
    area = hub_area(**(case.settings or {}))
    for name, options in case.faults:
        server.fault(name, **options)
    before = files_below(tmp_path)
    if case.outcome is RECOVERED:
        mapmill("download", area, FILE, OUT)
        expected = right_block() * (not case.settings)
        np.testing.assert_array_equal(read(OUT), expected)
        outcome = RECOVERED
    else:
        line = refused_cleanly(capsys, "download", area, FILE, OUT)
        assert case.outcome in line and "; expected " in line, line
        assert SECRET not in line and "access_token" not in line
        assert files_below(tmp_path) == before
        assert not any(Path("resources").iterdir() if Path("resources").exists() else ())
        outcome = re.search(r"found (.*?); expected", line)[1]
    asked = (server.count("token"), server.count("process"))
    assert asked == case.asked
    assert server.elsewhere == [] and server.count("loop") == 0
    ROWS[case.title] = (outcome, asked)
    server.clear()
    mapmill("download", area, FILE, OUT)
    if not case.settings:
        np.testing.assert_array_equal(read(OUT), right_block())


def markdown(rows):
    """The outcomes as a table."""
    lines = ["| what goes wrong | outcome | requests: tokens, blocks |", "|---|---|---|"]
    for title, (outcome, asked) in rows.items():
        said = outcome if outcome is RECOVERED else f"one line: {outcome}"
        said = said.replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {title} | {said} | {asked[0]}, {asked[1]} |")
    return "\n".join(lines)


def test_the_table_of_the_documentation(capsys):
    """The documentation would promise what is not so."""
    if len(ROWS) < len(CASES):
        pytest.skip("not all cases have run")
    table = markdown({case.title: ROWS[case.title] for case in CASES})
    with capsys.disabled():
        print(f"\n{table}")
    assert table in (ROOT / "docs/downloads.md").read_text(encoding="utf-8")


def test_waits_are_those_that_the_service_asks_for(server, monkeypatch):
    """Milliseconds taken for seconds are a thousand times too long, seconds taken for milliseconds
    a storm; and a fraction or a date broke other clients."""
    waits = []
    monkeypatch.setattr(http, "BACKOFF_S", 0.001)
    monkeypatch.setattr(http.time, "sleep", waits.append)
    server.fault("429", retry_after=3398)
    server.fault("429", retry_after="1500.5")
    server.fault("429", retry_after="date")
    server.fault("503", retry_after=7)
    mapmill("download", hub_area(), FILE, OUT)
    assert waits[:2] == pytest.approx([3.398, 1.5005]) and 0.5 < waits[2] <= 2
    assert waits[3] == 7, "the page of a gateway counts seconds, as everybody else does"


def test_a_short_wait_that_is_asked_for_is_no_storm(server, monkeypatch):
    """A server that counts seconds would be asked five times within ten milliseconds."""
    waits = []
    monkeypatch.setattr(http, "BACKOFF_S", 1.0)
    monkeypatch.setattr(http.time, "sleep", waits.append)
    server.fault("429", retry_after=2, times=4)
    mapmill("download", hub_area(), FILE, OUT)
    assert len(waits) == 4 and waits[0] >= 0.75 and sum(waits) > 10


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_are_never_a_page_of_python(server, capsys, monkeypatch, seed):
    """An archive that is damaged in a way that nobody has thought of would end in a traceback."""
    monkeypatch.setattr(http, "DAMAGED", 1)
    random, whole = np.random.default_rng(seed), archive(members())
    area, found = hub_area(), set()
    for _ in range(25):
        spoilt = bytearray(whole)
        for at in random.integers(0, 1100, random.integers(1, 9)):
            spoilt[at] = random.integers(256)
        server.clear()
        server.fault("answer", body=bytes(spoilt[: random.integers(300, 4000)]), headers=TAR)
        line = refused_cleanly(capsys, "download", area, FILE, OUT)
        found.add(re.search(r"found (.{12})", line)[1])
    assert len(found) > 1


@pytest.mark.parametrize("address", ["no-address", "ftp://127.0.0.1/x", "http://[::1", "http://"])
@pytest.mark.parametrize("name", ["SH_BASE_URL", "SH_TOKEN_URL"])
def test_addresses_that_are_none(server, capsys, monkeypatch, name, address):
    """A typing error would be five attempts and the advice to check the network."""
    monkeypatch.setattr(http.time, "sleep", lambda _: pytest.fail("waited"))
    monkeypatch.setenv(name, address)
    line = refused_cleanly(capsys, "download", hub_area(), FILE, OUT)
    assert "no answer (" in line and "check the address" in line


def test_nobody_listens(server, capsys):
    """A service that is down would end in a page of Python."""
    server.stop()
    line = refused_cleanly(capsys, "download", hub_area(), FILE, OUT)
    assert "no answer (ConnectionError), 5 times" in line and "check the network" in line


def test_all_is_asked_for_in_a_bounded_time(server, capsys, monkeypatch):
    """A run would hang for a night on a body that comes byte by byte."""
    start = time.monotonic()
    server.fault("drip", seconds=3600, pieces=36_000, **FOREVER)
    monkeypatch.setattr(answers, "PATIENCE_S", 0.3)
    refused_cleanly(capsys, "download", hub_area(), FILE, OUT)
    assert time.monotonic() - start < 1800


# ------------------------------------------------------------------------ files by their address
def refused_address(server, path="/labels.tif?token=abc", user="name:word@"):
    """The line by which a file is refused; nothing is kept."""
    url = server.url.replace("http://", f"http://{user}") + path
    with pytest.raises(CatalogueError) as caught:
        keep.fetch_address(url, None, None, "labels")
    assert files_below("resources") == []
    return str(caught.value)


ADDRESSES = {
    "a page that is called a GeoTIFF": (
        fault("html200", content_type="image/tiff", path="*"),
        "a page of HTML",
    ),
    "moved": (fault("answer", status=404, path="*"), "status 404 Not Found"),
    "always busy": (fault("503", path="*", **FOREVER), "5 times"),
    "busy for a day": (fault("429", path="*", retry_after=86_400), "to wait 86400 s"),
    "always reset": (fault("reset", path="*", **FOREVER), "no answer (ConnectionError)"),
    "redirects without end": (
        fault("redirect_loop", path="*", status=302, **FOREVER),
        "found redirects in a circle",
    ),
    "a redirect to a file": (
        fault("answer", path="*", status=302, headers={"Location": "file:///etc/passwd?token=abc"}),
        "a redirect to file:///etc/passwd, an address of file",
    ),
    "headers that are none": (
        fault("answer", path="*", headers={"X": "1\r\nno colon"}, **FOREVER),
        "no answer (ConnectionError)",
    ),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_that_holds_a_secret(server, caplog, name):
    """A key in an address would be in the message, or in the log that people send around."""
    (kind, options), said = ADDRESSES[name]
    server.fault(kind, **options)
    with caplog.at_level("INFO"):
        line = refused_address(server)
    assert line.startswith(f"{server.url}/labels.tif: found ") and said in line
    for text in (line, caplog.text):
        assert not [part for part in ("token", "abc", "name:word", "word@") if part in text]


def test_a_file_that_moved_to_another_host(server):
    """The password for one host would be given to another."""
    body = right_block().tobytes()
    server.fault("answer", path="/labels.tif", status=302,
                 headers={"Location": f"{server.elsewhere_url}/there?x=1"})  # fmt: skip
    server.fault("answer", path="/there", body=body, headers={"Content-Type": "image/tiff"})
    url = server.url.replace("http://", "http://name:word@")
    assert keep.fetch_address(f"{url}/labels.tif", None, None, "labels").read_bytes() == body
    assert server.seen("other")[0].authorization.startswith("Basic ")
    (arrived,) = server.elsewhere
    assert arrived.authorization is None


def test_a_file_that_comes_compressed_all_the_same(server):
    """Polygons that a store serves compressed could not be fetched, or be kept compressed."""
    body = b'{"type": "FeatureCollection"}' * 10_000
    headers = {"Content-Type": "application/geo+json", "Content-Encoding": "gzip"}
    server.fault("answer", path="*", body=gzip.compress(body), headers=headers)
    path = keep.fetch_address(f"{server.url}/plots.geojson", len(body), None, "labels")
    assert path.read_bytes() == body
    assert server.seen("other")[0].headers["Accept-Encoding"] == "identity"
