"""Whatever goes wrong between mapmill and the files of a catalogue ends in the right pixels, or in
one clear line with nothing bad left behind. The outcomes are tables in docs/downloads.md."""

import gzip
import urllib.parse

import pytest
from faults.catalogue_cells import (
    FOREVER,
    NONE,
    RECOVERED,
    SOURCES,
    Case,
    cells,
    check_cell,
    fault,
    in_documentation,
    markdown,
    name_of,
    opened,
    sparse_tiff,
)

ROWS = {}
"""(title, way, source) -> outcome of each cell that has run."""
WAYS = ("whole", "window")
VRT = b"""<VRTDataset rasterXSize="392" rasterYSize="392"><VRTRasterBand dataType="Int16" band="1">
<SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
PAGE = b"<!DOCTYPE html><html><body>Falha interna</body></html>" + b" " * 4000
BOMB = gzip.compress(bytes(2**26))
PATHS = {"dgi": "download"}
"""Endpoint that the account is shown to, where it is not that of the files."""
ANOTHER = "1220" + "ab" * 32


# ------------------------------------------------------------------------------ what goes wrong
def both(title, faults=(), outcome=RECOVERED, **more):
    """A case with the same outcome in both ways of reading."""
    return Case(title, faults, **{"whole": outcome, "window": outcome} | more)


def always(name, **options):
    return (fault(name, **options | FOREVER),)


def at_rights(name, **options):
    """A fault of the request that shows the account."""
    return lambda source: (fault(name, **{"path": PATHS.get(source, "asset")} | options),)


def ends_in_the_middle(source):
    path = PATHS.get(source, "asset")
    return fault("short_body", keep=0.4), fault("expired", path=path, after=source == "dgi")


def answer(body, status=200, **headers):
    kinds = {"Content-Type": "image/tiff"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return always("answer", status=status, body=body, headers=kinds)


def tells(name, change):
    """An edit of what the catalogue tells of each file."""

    def edit(asset, feature, server):
        key = getattr(server, name)
        asset[key] = change(asset.get(key))

    return edit


def at(address):
    """An edit of the address of each file."""

    def edit(asset, feature, server):
        asset["href"] = address.format(port=server.port)

    return edit


def with_dots(asset, feature, server):
    """The same file at an address whose last part, once it is unquoted, leads elsewhere."""
    split = urllib.parse.urlsplit(asset["href"])
    folder, _, name = split.path.rpartition("/")
    for path, blob in list(server.blobs.items()):
        if path.endswith(f"/{name}"):
            server.blobs[f"{path.rpartition('/')[0]}/../../../{name}"] = blob
    quoted = f"{folder}/..%2F..%2F..%2F{name}"
    asset["href"] = urllib.parse.urlunsplit(split._replace(path=quoted))


def by_source(stac=NONE, bdc=NONE, dgi=NONE):
    return {"stac": stac, "bdc": bdc, "dgi": dgi}


def planetary(title, faults=(), outcome=RECOVERED, **more):
    """A case of Planetary Computer, whose files need a token that another endpoint gives."""
    signed = {"options": {"signed": "token"}, "download": {"sign": "planetary-computer"}}
    return both(f"Planetary Computer: {title}", faults, by_source(outcome), **signed, **more)


def public(title, faults=(), outcome="on a private network", **more):
    return both(title, faults, outcome, public=True, **more)


TWO = {"chunk": 2**15, "counted": False}
"""A file of several ranges; how many, is GDAL's matter."""
AWAY = "another host that would be given a secret"
OTHER_TYPE = by_source(stac="type float", bdc="type float")
FIXED = by_source(RECOVERED, "status 403 Forbidden", "status 403 Forbidden (Invalid e-mail")
LENGTH = "N bytes"
NO_RASTER = "no readable raster"
REDIRECTED = by_source(RECOVERED, RECOVERED, "status 404")
CASES = [
    both("nothing"),
    # rights
    both("401, once", at_rights("401")),
    both("401 always", at_rights("401", **FOREVER), "status 401 Unauthorized"),
    both("403, once", at_rights("403")),
    both("403 always", at_rights("403", **FOREVER), "status 403 Forbidden"),
    both("400", at_rights("400"), "status 400 Bad Request"),
    both("404", always("404"), "status 404 Not Found"),
    both("signature, token or e-mail has ended", (), FIXED, before=lambda s: s.revoke()),
    both("signature, token or e-mail ends after a part", ends_in_the_middle, FIXED),
    both("signature, token or e-mail ends between two ranges", at_rights("expired", after=1), NONE,
         window=FIXED, **TWO),
    planetary("a token"),
    planetary("the token has ended", before=lambda s: s.revoke()),
    planetary("500 for the token", (fault("500", path="sas"),)),
    planetary("a page for the token, twice", (fault("html200", path="sas", times=2),)),
    planetary("a page for the token, always", always("html200", path="sas"),
              "no JSON in an answer of text/html"),
    planetary("JSON without a token", always("answer", path="sas", content={"token": 1}),
              "no token"),
    # busy
    both("429 with seconds, twice", (fault("429", retry_after=1, times=2),)),
    both("429 without Retry-After", (fault("429", retry_after=None),)),
    both("429 with a date", (fault("429", retry_after="date"),)),
    both("429 with a fraction", (fault("429", retry_after="0.5"),)),
    both("429 always", always("429"), "status 429 Too Many Requests"),
    both("429 for ten hours", (fault("429", retry_after=36000),), "to wait 36000 s"),
    both("500", (fault("500"),)),
    both("502", (fault("502"),)),
    both("503", (fault("503"),)),
    both("504", (fault("504"),)),
    both("502, 500, reset, 429 in turn",
         (fault("502"), fault("500"), fault("reset"), fault("429"))),
    both("500 always", always("500"), "status 500 Internal Server Error"),
    both("502 always", always("502"), "status 502 Bad Gateway, a page of text/html, 5 times"),
    both("503 always", always("503"), "status 503 Service Unavailable"),
    # not the file
    both("a page with 200, twice", (fault("html200", times=2),)),
    both("a page with 200, always", always("html200"), "a page of text/html"),
    both("a page that is called a TIFF, twice",
         (fault("html200", content_type="image/tiff", times=2),)),
    both("a page that is called a TIFF, always", always("html200", content_type="image/tiff"),
         whole=by_source("109 bytes", "109 bytes", "a page of HTML"), window="a page of HTML"),
    both("JSON error with 200, twice", (fault("json200", times=2),)),
    both("JSON error with 200, always", always("json200"), "a page of application/json"),
    both("JSON error that is called a TIFF, always", always("json200", content_type="image/tiff"),
         whole=by_source("46 bytes", "46 bytes", "no GeoTIFF"), window="no image"),
    both("a page in the place of the rest", (fault("short_body"), fault("html200")),
         NONE, whole=RECOVERED),
    both("nothing with 200", answer(b""), whole="0 bytes", window="nothing"),
    both("204, no content", always("answer", status=204), "status 204 No Content"),
    # not whole
    both("short body", (fault("short_body"),)),
    both("short body in chunks", (fault("short_body", chunked=True),)),
    both("short body always", always("short_body"), "an answer that breaks off"),
    both("no length, whole", (fault("unframed"),)),
    both("no length, half, once", (fault("unframed", keep=0.5),)),
    both("no length, half, always", always("unframed", keep=0.5),
         whole=by_source(LENGTH, LENGTH, NO_RASTER), window=LENGTH),
    both("truncated, lengths agree, once", (fault("truncated"),),
         window=by_source(RECOVERED, RECOVERED, NO_RASTER)),
    both("truncated, lengths agree, always", always("truncated"),
         by_source(LENGTH, LENGTH, NO_RASTER)),
    both("truncated, and the catalogue agrees", (), NO_RASTER, spoil=("truncated", {})),
    # not as the catalogue says
    both("another checksum", edit=tells("checksum_key", lambda _: ANOTHER),
         whole=by_source("sha256", "sha256"), window=by_source(RECOVERED, RECOVERED)),
    both("another size", (), by_source(LENGTH, LENGTH), edit=tells("size_key", lambda n: n + 1)),
    both("another file in its place", always("zeros"),
         by_source("bytes", "bytes", "no pixel with data")),
    both("a row and a column too few", (), by_source("shape", "shape"), spoil=("wrong_shape", {})),
    both("another CRS", (), by_source("CRS EPSG:32630", "an image of", "an image of"),
         spoil=("wrong_crs", {})),
    both("a band too many", (), "2 bands", spoil=("wrong_bands", {})),
    both("another type", (), OTHER_TYPE, spoil=("wrong_type", {})),
    both("nothing but 0", (), "no pixel with data", spoil=("zeros", {})),
    both("a VRT that is called a TIFF", (), spoil=VRT, whole="no GeoTIFF", window="no image"),
    both("a page that is called a TIFF, with size and digest", (), "a page of HTML", spoil=PAGE),
    both("an image of 60,000 px of nothing", (),
         by_source("CRS EPSG:32723", "shape", "no pixel with data"), spoil=sparse_tiff(60_000)),
    both("tiles of 32,768 px", (), spoil=sparse_tiff(32_768, 32_768),
         whole="tiles of a monstrous size",
         window=by_source("CRS EPSG:32723", "shape", "no tiles, or of 32768 x 32768 px")),
    both("the item is missing", always("404", path="item"), by_source("status 404 Not Found")),
    both("the item has lost the asset", always("renamed_asset", path="item"),
         by_source("no asset blue")),
    both("another key, the band's name left", always("renamed_asset", path=("search", "item"))),
    # the network
    both("connection reset", (fault("reset"),)),
    both("reset in the middle", (fault("reset", keep=0.5),)),
    both("connection reset always", always("reset"), "no answer (ConnectionError), 5 times"),
    both("reset in the middle, always", always("reset", keep=0.5), "an answer that breaks off"),
    both("stall", (fault("stall", seconds=6),), timeout_s=1.5),
    both("stall in the middle", (fault("stall", seconds=6, keep=0.5),), timeout_s=1.5),
    both("stall always", always("stall", seconds=6), "no answer (ReadTimeout), 5 times",
         timeout_s=0.8),
    both("slow drip", (fault("drip", seconds=0.5),)),
    both("drip without end", always("drip", seconds=3600, pieces=36_000),
         "slower than 1000 bytes a second, 5 times", patience_s=0.2),
    # elsewhere
    both("redirect loop", always("redirect_loop"), "more than 10 redirects"),
    both("redirect to another host", (fault("redirect_elsewhere"),)),
    both("redirect to another host, of the account", at_rights("redirect_elsewhere", status=307),
         REDIRECTED),
    both("redirect to another host that takes the secret along",
         at_rights("redirect_elsewhere", query=True, **FOREVER), AWAY),
    both("redirect to a file", always("answer", status=302,
         headers={"Location": "file:///etc/passwd"}), "an address of file"),
    public("a public catalogue", (), RECOVERED),
    public("a public catalogue redirects to a private network", always("answer", status=302,
           headers={"Location": "http://127.0.0.1:9/x.tif"})),
    public("a public catalogue has a private address", edit=at("http://10.1.2.3/x.tif")),
    public("a public catalogue has that of a cloud's metadata", edit=at("http://169.254.169.254/x.tif")),
    public("a public catalogue has localhost", edit=at("http://localhost:{port}/x.tif")),
    both("the path of a file of this machine", (), by_source("status 404", "status 404"),
         edit=at("/etc/passwd")),
    both("the same by ../", (), by_source("status 404", "status 404"),
         edit=at("../../../../etc/passwd")),
    both("a name with ../ in an address", edit=with_dots),
    # too much
    both("a body of 1 TiB, told", always("oversize", size=2**40), LENGTH,
         window="bytes"),
    both("a body of 1 TiB, not told", always("oversize", size=2**40, length=False), "over N bytes"),
    both("a compressed bomb", answer(BOMB, Content_Encoding="gzip"),
         whole="over N bytes", window="whole files"),
    both("a compressed bomb as a part",
         answer(BOMB, 206, Content_Encoding="gzip", Content_Range="bytes 0-99/100"), NONE,
         window="a compressed answer"),
    # ranges
    both("the file changes between two answers", (fault("short_body"), fault("changed")), NONE,
         whole=by_source(LENGTH, LENGTH, RECOVERED), add=1),
    both("the file changes between two ranges", (fault("changed", after=1),), NONE,
         window="changed while it was read", **TWO),
    both("no ranges", window="a server that gives whole files", options={"ranges": False}),
    both("no ranges, and a short body", (fault("short_body"),), NONE, whole=RECOVERED,
         options={"ranges": False}),
    both("the whole in the place of a range, once", (fault("no_range", after=1),), NONE,
         window=RECOVERED, **TWO),
    both("another range, once", (fault("wrong_range", after=1),), NONE, window=RECOVERED, **TWO),
    both("another range, always", always("wrong_range", after=1), NONE,
         window="Content-Range", **TWO),
    both("another range in the place of the rest", (fault("short_body"), fault("wrong_range")),
         NONE, whole=RECOVERED),
    both("bytes that are not the rest, not told",
         (fault("short_body"), fault("wrong_range", told=False)), NONE, whole=RECOVERED),
    both("bytes of another range, not told", always("wrong_range", told=False), NONE,
         window=NO_RASTER, counted=False),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Scenes of each source."""
    folder = tmp_path_factory.mktemp("scenes")
    return {name: [source.scenes(folder)] for name, source in SOURCES.items()}


@pytest.mark.parametrize("chosen", cells(CASES, WAYS), ids=name_of)
def test_whatever_goes_wrong(chosen, made, tmp_path, monkeypatch, capsys, caplog):
    """Wrong pixels would become part of a map, a secret be published with it, or a page of Python
    be all that a user sees."""
    case, way, name = chosen
    source = SOURCES[name]
    caplog.set_level("DEBUG")
    with opened(source, case, made[name], tmp_path, monkeypatch, capsys, caplog) as cell:
        ROWS[case.title, way, name] = check_cell(cell, case, way)


@pytest.mark.parametrize("way", WAYS)
def test_the_table_of_the_documentation(way, capsys):
    """The documentation would promise what is not so."""
    if len([key for key in ROWS if key[1] == way]) < len(cells(CASES, [way])):
        pytest.skip("not all cells have run")
    table = markdown(CASES, way, ROWS)
    with capsys.disabled():
        print(f"\n{table}")
    assert in_documentation(table)
