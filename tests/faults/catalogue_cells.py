"""One cell of the matrix of faults: a catalogue, a command, something that goes wrong; what came of
it, and whether anything was left behind. The tables of docs/downloads.md are made of these."""

import json
import os
import re
import shutil
import socket
import time
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.windows import from_bounds
from running import ROOT
from servers.areas import files_below
from servers.bdc import BdcServer
from servers.blobs import Blob
from servers.imagery import simulated
from servers.lgi import LgiServer
from servers.stac import StacServer
from stages.stage_steps import area_with

from mapmill.catalogue import answers, assets, dgi, http, ranged, stac
from mapmill.cli import main

PUBLIC = "catalogue.example"
RECOVERED = "right in the end"
NONE = "-"
FOREVER = {"times": None}
LISTING = Path("results/cells/search/{}.json")
OUT = Path("out/file.tif")
EARLY = ("search", ("search", "item"))
"""Faults of these are there before the search of a cell of files."""
MOST = 12
"""Requests of one command, whatever goes wrong."""


@dataclass(frozen=True)
class Source:
    """A catalogue: its server, and an area whose imagery is in it."""

    name: str
    server: type
    scene: str
    collection: str
    day: str
    crs: str
    step: int
    wide: tuple
    """Bounds of the scene."""
    bounds: tuple
    """Bounds of the area, on the same pixels."""
    bands: tuple
    """Of the server's files; the first is downloaded."""
    keys: tuple
    """Of their assets."""
    composed: tuple
    """The same bands, as the area names them."""
    secret: str = ""

    @property
    def period(self):
        return self.day[:7]

    @property
    def listing(self):
        return Path(str(LISTING).format(self.period))

    def served(self, scenes, **options):
        """A server of these scenes, which asks for the account."""
        own = {"stac": {"signed": True}, "bdc": {"token": self.secret}}
        own |= {"dgi": {"emails": (self.secret,)}}
        return self.server(scenes, **own[self.name] | options)

    def become_client(self, server, monkeypatch):
        """Give this process the account, and the address of the server."""
        for name in [*os.environ]:
            if name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("NO_PROXY", "*")
        for name in ("BDC_ACCESS_TOKEN", "INPE_EMAIL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in self.account(server).items():
            monkeypatch.setenv(name, value)

    def account(self, server):
        """Environment of a client."""
        if self.name == "stac":
            return {"STAC_BASE_URL": server.api_url}
        if self.name == "bdc":
            return {"BDC_BASE_URL": server.api_url, "BDC_ACCESS_TOKEN": self.secret}
        return {"INPE_BASE_URL": server.url, "INPE_EMAIL": self.secret}

    def area(self, read="whole", **download):
        """The area's file below the current folder."""
        catalogue = {"collections": [self.collection]}
        if self.name == "stac":
            catalogue["api"] = "https://nowhere.invalid/v1"
            download = {"sign": "item"} | download
        if self.name == "bdc":
            catalogue["assets"] = dict(zip(self.composed, self.bands, strict=True))
        return area_with(
            "cells",
            grid={"crs": self.crs, "resolution": self.step, "bounds": list(self.bounds)},
            search={"source": self.name, "catalogue": catalogue, "periods": {self.period: {}}},
            compose={"bands": list(self.composed)},
            download={"read": read} | download,
        )

    def array(self, band):
        """What a file of the server holds, (y, x): values that nobody can guess."""
        width, height = (round(self.wide[i + 2] - self.wide[i]) // self.step for i in (0, 1))
        seed = 7 + self.bands.index(band)
        return np.random.default_rng(seed).integers(600, 9000, (height, width)).astype(np.int16)

    def scenes(self, folder, name=None, **more):
        """A scene of the catalogue."""
        keywords = {"bounds": self.wide, "bands": self.bands, "crs": self.crs}
        keywords |= {
            "collection": self.collection,
            "arrays": {b: self.array(b) for b in self.bands},
        }
        return simulated(folder / self.name, name or self.scene, self.day, **keywords | more)

    def halves(self, folder):
        """Two scenes, each of half the area."""
        middle = (self.bounds[0] + self.bounds[2]) // 2
        west, south, east, north = self.wide
        boxes = (west, south, middle, north), (middle, south, east, north)
        names = (self.scene, self.scene.replace("31TDF", "31TEF").replace("200_140", "200_141"))
        names = (names[0], names[1].replace("200140", "200141"))
        return [
            simulated(folder / f"{self.name}-halves", name, self.day, bounds=box, bands=self.bands,
                      crs=self.crs, collection=self.collection)
            for name, box in zip(names, boxes, strict=True)
        ]  # fmt: skip


WPM = {"day": "2021-08-30T13:01:00Z", "crs": "EPSG:32723", "step": 8}
WPM |= {"wide": (199_200, 8_229_664, 202_336, 8_232_800)}
WPM |= {"bounds": (200_000, 8_230_464, 201_536, 8_232_000)}
WPM |= {"bands": ("BAND1", "BAND2"), "composed": ("blue", "green")}
SOURCES = {
    "stac": Source(
        "stac",
        StacServer,
        "S2A_31TDF",
        "sentinel-2-l2a",
        day="2018-04-12",
        crs="EPSG:32631",
        step=10,
        wide=(399_000, 4_597_900, 402_560, 4_600_460),
        bounds=(400_000, 4_598_400, 401_920, 4_600_000),
        bands=("B02", "B03"),
        keys=("blue", "green"),
        composed=("B02", "B03"),
    ),
    "bdc": Source(
        "bdc",
        BdcServer,
        "CBERS_4A_WPM_20210830_200_140_L4",
        "CB4A-WPM-L4-DN-1",
        **WPM,
        keys=("BAND1", "BAND2"),
        secret="tok+en/5ecret",
    ),
    "dgi": Source(
        "dgi",
        LgiServer,
        "CBERS4A_WPM20014020210830",
        "CBERS4A_WPM_L4_DN",
        **WPM,
        keys=("blue", "green"),
        secret="some.one@5ecret.example",
    ),
}


def fault(name, **options):
    return name, options


@dataclass(frozen=True)
class Case:
    """What goes wrong, one fault or several in turn, and what comes of it.

    An outcome is RECOVERED, words of the one line, or a mapping of them by source; a source
    that is not in it has no such thing.
    """

    title: str
    faults: tuple = ()
    """A callable gives those of a source."""
    whole: object = NONE
    window: object = NONE
    search: object = NONE
    spoil: object = None
    """A fault of files, and options; or bytes: what the file is, and the catalogue says of it."""
    edit: object = None
    """(asset, feature, server) -> None: what the catalogue tells otherwise."""
    page: object = None
    """(page, server) -> None: what each page of a search tells otherwise."""
    options: dict = field(default_factory=dict)
    """Of the server."""
    download: dict = field(default_factory=dict)
    """Of the area."""
    timeout_s: float = 2.0
    patience_s: float = 120.0
    chunk: int = 2**20
    """Bytes of a range."""
    limit: int = 16 * 2**20
    halves: bool = False
    """Two scenes of half the area each."""
    per_page: int = 1
    """Of these."""
    counted: bool = True
    """Whether the number of requests is told: not where it hangs on how GDAL reads."""
    before: object = None
    """(server) -> None: what happens between search and download."""
    add: int = 0
    """What the right pixels are more than at first: of a file that has changed for good."""
    public: bool = False
    """The catalogue is one of the public network."""

    def expected(self, way, source):
        """The outcome that is expected; NONE where there is no such thing."""
        given = getattr(self, way)
        return given.get(source, NONE) if isinstance(given, dict) else given

    def of(self, source):
        """Its faults for a source."""
        return self.faults(source) if callable(self.faults) else self.faults


def cells(cases, ways):
    """All cells that there are: case, way, source."""
    return [
        (case, way, source)
        for way in ways
        for case in cases
        for source in SOURCES
        if case.expected(way, source) != NONE
    ]


def name_of(cell):
    case, way, source = cell
    return f"{source} {way}: {case.title}"


class Cell:
    """One cell while it runs, in the current folder."""

    def __init__(self, source, server, capsys, caplog, scenes):
        self.source, self.server, self.capsys, self.caplog = source, server, capsys, caplog
        self.said, self.scenes, self.waits = "", scenes, []

    # ------------------------------------------------------------------ commands
    def run(self, *arguments):
        """Run a command; '' if it worked, else its one line."""
        status = main([str(argument) for argument in arguments])
        shown = self.capsys.readouterr()
        self.said += shown.out + shown.err
        if status == 0:
            return ""
        lines = [line for line in shown.err.splitlines() if line.startswith("mapmill ")]
        assert status == 1 and len(lines) == 1, shown.err
        assert "Traceback" not in shown.err + self.caplog.text
        assert re.fullmatch(r"mapmill \w+: .+: found .+; expected .+; .+", lines[0]), lines[0]
        return lines[0]

    def search(self, area):
        return self.run("search", area, self.source.period, self.source.listing)

    def download(self, area):
        return self.run("download", area, self.wanted(), OUT)

    def wanted(self):
        """Name of the file of the first band, as the pinned search has it."""
        found = json.loads(self.source.listing.read_text())["features"][0]
        for key, asset in found["assets"].items():
            if self.source.composed[0] in [band["name"] for band in asset["bands"]]:
                suffix = Path(asset["href"]).suffix
                return f"{self.source.period}/{found['id']}/{key}{suffix}"
        raise AssertionError(found)

    # ------------------------------------------------------------------ what is right
    def check_pixels(self, add=0):
        """The file holds what the server's does, where it does."""
        source, truth = self.source, self.source.array(self.source.bands[0])
        left, top = source.wide[0], source.wide[3]
        with rasterio.open(OUT) as image:
            assert image.crs == source.crs and image.count == 1 and image.res[0] == source.step
            found = image.read(1, window=from_bounds(*source.bounds, image.transform))
        row, col = (top - source.bounds[3]) // source.step, (source.bounds[0] - left) // source.step
        truth = truth[row:, col:][: found.shape[0], : found.shape[1]]
        assert found.shape == tuple(
            (source.bounds[i + 2] - source.bounds[i]) // source.step for i in (1, 0)
        )
        np.testing.assert_array_equal(found, truth + add)

    def check_found(self, way, case):
        """The pixels are right, or what the search found can be downloaded and is."""
        if way == "search":
            found = json.loads(self.source.listing.read_text())["features"]
            assert {item["id"] for item in found} == {scene.id for scene in self.scenes}
            if case.halves:
                return
            assert self.download(self.source.area(**case.download)) == ""
        self.check_pixels(case.add)

    def check_nothing_left(self, before=()):
        """No file is there but those that a download may go on with; these hold what is right."""
        left = [path for path in files_below(".") if path not in before]
        parts = [path for path in left if re.fullmatch(r"\..+\.partial(\.json)?", Path(path).name)]
        assert left == parts, left
        contents = [blob.content for blob in self.server.blobs.values()]
        contents += [path.read_bytes() for scene in self.scenes for path in scene.files.values()]
        for path in parts:
            if path.endswith(".partial"):
                held = Path(path).read_bytes()
                assert held and any(content.startswith(held) for content in contents)
        return bool(parts)

    def secrets(self):
        """Account and signatures, plain and as addresses have them."""
        found = [self.source.secret] if self.source.secret else []
        if self.source.name == "stac":
            found = list(self.server.signatures._issued)
        return {form for s in found for form in (s, urllib.parse.quote(s, safe=""))}

    def check_secrets(self):
        """No secret is in a file, a record of the log, or what was printed."""
        forms = self.secrets()
        files = [path for path in Path().rglob("*") if path.is_file() or path.is_symlink()]
        texts = [path.read_bytes().decode("latin-1") for path in files if path.is_file()]
        texts += [str(path) for path in files]
        texts += [self.said, self.caplog.text]
        for record in self.caplog.records:
            texts += [record.getMessage(), repr(record.args), repr(record.exc_info)]
        for text in texts:
            assert not [form for form in forms if form in text]
        for request in self.server.elsewhere:
            arrived = f"{request.path} {request.query} {request.headers} {request.body!r}"
            assert not [form for form in forms if form in arrived]


@contextmanager
def opened(source, case, scenes, tmp_path, monkeypatch, capsys, caplog):
    """A cell in a clean folder, its server as the case has it."""
    (tmp_path / "deep/deeper/project").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/deeper/project")
    server = source.served(scenes, **case.options)
    if case.public:
        named = {"url": property(lambda hub: f"http://{PUBLIC}:{hub.port}")}
        server.__class__ = type("Public", (type(server),), named)
        found = socket.getaddrinfo

        def getaddrinfo(host, port, *more, **keywords):
            if host == PUBLIC and port is None:  # what it means, and not where to connect to
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0))]
            return found("127.0.0.1" if host == PUBLIC else host, port, *more, **keywords)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with server:
        source.become_client(server, monkeypatch)
        cell = Cell(source, server, capsys, caplog, scenes)
        prepare(cell, case, monkeypatch)
        yield cell


def sparse_tiff(size, tile=512):
    """A GeoTIFF of `size` px a side at the scene of INPE, which takes no room until it is read."""
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "int16"}
    profile |= {"crs": WPM["crs"], "transform": from_origin(199_200, 8_232_800, 8, 8)}
    profile |= {"tiled": True, "blockxsize": tile, "blockysize": tile, "nodata": 0}
    with MemoryFile() as memory:
        with memory.open(**profile, sparse_ok=True):
            pass
        return bytes(memory.read())


def prepare(cell, case, monkeypatch):
    """No waits, and what the catalogue tells from the beginning."""
    wait = time.sleep

    def sleep(seconds):
        cell.waits.append(seconds)
        wait(0.001)

    monkeypatch.setattr(http.time, "sleep", sleep)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, case.timeout_s))
    monkeypatch.setattr(answers, "PATIENCE_S", case.patience_s)
    monkeypatch.setattr(ranged, "CHUNK", case.chunk)
    monkeypatch.setattr(assets, "LARGEST", case.limit)
    monkeypatch.setattr(stac, "LARGEST", case.limit)
    server, source = cell.server, cell.source
    if isinstance(case.spoil, bytes):
        for path in list(server.blobs):
            if path.endswith(".tif"):
                server.blobs[path] = Blob(case.spoil)
    elif case.spoil:
        name, options = case.spoil
        server.spoil(source.scene, source.bands[0], name, **options)
    if case.halves:
        monkeypatch.setattr(stac, "PAGE", case.per_page)
        monkeypatch.setattr(dgi, "PAGE", case.per_page)
    if case.edit or case.page:
        change_documents(server, case)


def change_documents(server, case):
    """Let the server tell otherwise what is in its documents."""
    told = server.document

    def document(request, content):
        content = told(request, content)
        for feature in features_in(content) if case.edit else ():
            for asset in list(feature.get("assets", {}).values()):
                if not str(asset.get("type")).startswith("image/png"):
                    case.edit(asset, feature, server)
        if case.page and request.endpoint == "search":
            case.page(content, server)
        return content

    server.document = document


def features_in(content):
    """All items of a document."""
    if not isinstance(content, dict):
        return []
    if content.get("type") == "Feature":
        return [content]
    listed = content.get("features")
    inner = listed if isinstance(listed, list) else content.values()
    return [found for value in inner if isinstance(value, dict) for found in features_in(value)]


def mend(cell):
    """Let the server be as it should."""
    server, source = cell.server, cell.source
    server.clear()
    server.__dict__.pop("document", None)
    server.revoked, server.ranges = False, True
    if source.name == "dgi":
        server.emails = {source.secret}
    server.scenes, server.blobs = [], {}
    for scene in cell.scenes:
        server.add(scene)


def afresh():
    """Without what was searched and put in place: only the store stays."""
    for folder in ("results", "out"):
        shutil.rmtree(folder, ignore_errors=True)


def run_files(cell, case, way):
    """Search, then the download with what goes wrong; the outcome and the requests it took."""
    server, area = cell.server, cell.source.area(way, **case.download)
    faults = case.of(cell.source.name)
    for name, options in faults:
        if options.get("path") in EARLY:
            server.fault(name, **options)
    assert cell.search(area) == ""
    before = files_below(".")
    if case.before:
        case.before(server)
    for name, options in faults:
        if options.get("path") not in EARLY:
            server.fault(name, **options)
    start = len(server.requests)
    line = cell.download(area)
    return line, len(server.requests) - start, before


def run_search(cell, case):
    """The search with what goes wrong; its line, and the requests it took."""
    for name, options in case.of(cell.source.name):
        cell.server.fault(name, **options)
    area = cell.source.area(**case.download)
    before = files_below(".")
    line = cell.search(area)
    return line, len(cell.server.requests), before


def check_cell(cell, case, way):
    """Run one cell and check what it left behind; its text in the table."""
    outcome = run_search(cell, case) if way == "search" else run_files(cell, case, way)
    line, requests, before = outcome
    expected = case.expected(way, cell.source.name)
    parts = False
    if expected == RECOVERED:
        assert line == ""
        cell.check_found(way, case)
    else:
        assert line and expected in numberless(line), line
        parts = cell.check_nothing_left(before)
        assert not OUT.is_symlink() and not OUT.exists()
    assert requests <= MOST
    cell.check_secrets()
    mend(cell)
    check_rerun(cell, case, way, parts)
    cell.check_secrets()
    return shown(shortened(line) if line else RECOVERED, requests if case.counted else None)


def check_rerun(cell, case, way, parts):
    """The same commands without the fault give what is right; what has come is gone on with."""
    afresh()
    area = cell.source.area("whole" if way == "search" else way, **case.download)
    assert cell.search(area) == ""
    if case.halves:
        cell.check_found("search", case)
        return
    recovered = case.expected(way, cell.source.name) == RECOVERED
    start = len(cell.server.requests)
    assert cell.download(area) == ""
    cell.check_pixels(case.add * recovered)  # what is in the store stays
    asked = cell.server.requests[start:]
    if parts:
        assert any(each.range for each in asked)
    early = [name for name, more in case.of(cell.source.name) if more.get("path") in EARLY]
    if way != "search" and recovered and not (case.edit or early):
        assert not asked, "what is in the store is not asked for again"


# ------------------------------------------------------------------------------------ the table
def numberless(text):
    """Without numbers of bytes, which differ with the libraries that compress."""
    text = re.sub(r"\b\d{4,}(?= bytes(?! a second))", "N", text)
    return re.sub(r"bytes \d+-\d+/\d+", "bytes N-N/N", text)


def shortened(line):
    """What a line says was found."""
    found = re.search(r": found (.*?); expected ", line)[1]
    found = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", found)
    found = re.sub(r"\b[0-9a-f]{32,}\b", "...", found)
    found = numberless(found)
    found = re.sub(r"(\w+://[^\s/]+)/\S*/", r"\1/.../", found)
    return found if len(found) <= 100 else f"{found[:96]} ..."


def shown(outcome, requests):
    said = outcome if outcome == RECOVERED else f"one line: {outcome}"
    said = said.replace("|", "\\|").replace("<", "&lt;")
    return said if requests is None else f"{said} ({requests})"


def markdown(cases, way, rows):
    """The outcomes as a table."""
    lines = ["| what goes wrong | stac | bdc | dgi |", "|---|---|---|---|"]
    for case in cases:
        held = [rows.get((case.title, way, source), NONE) for source in SOURCES]
        if set(held) != {NONE}:
            lines.append(f"| {case.title} | {' | '.join(held)} |")
    return "\n".join(lines)


def in_documentation(table):
    return table in (ROOT / "docs/downloads.md").read_text(encoding="utf-8")
