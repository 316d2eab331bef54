"""Whatever goes wrong with the search of a catalogue ends in the right scenes, or in one clear line
with nothing written. The outcomes are a table in docs/downloads.md."""

import copy
import gzip
import random

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
)

ROWS = {}
"""(title, way, source) -> outcome of each cell that has run."""
WAYS = ("search",)
JSON = {"Content-Type": "application/json"}


# ------------------------------------------------------------------------------ what goes wrong
def case(title, faults=(), outcome=RECOVERED, **more):
    return Case(title, faults, search=outcome, **more)


def by_source(stac=NONE, bdc=NONE, dgi=NONE):
    return {"stac": stac, "bdc": bdc, "dgi": dgi}


def api(outcome=RECOVERED):
    """Of the two that are STAC APIs."""
    return by_source(outcome, outcome)


def once(name, path="search", **options):
    return (fault(name, path=path, **options),)


def always(name, path="search", **options):
    return once(name, path, **options | FOREVER)


def answer(body, status=200, **headers):
    headers = JSON | {key.replace("_", "-"): value for key, value in headers.items()}
    return always("answer", status=status, body=body, headers=headers)


def at(address):
    """An edit of the address of each file."""

    def edit(asset, feature, server):
        asset["href"] = address

    return edit


def without_names(asset, feature, server):
    """Nothing tells any more which band is in which file."""
    asset.pop("eo:bands", None)
    named = feature["assets"].items()
    feature["assets"] = {f"new-{key}" if told is asset else key: told for key, told in named}


def with_dots(asset, feature, server):
    """Keys that lead elsewhere."""
    named = feature["assets"].items()
    feature["assets"] = {f"../../../{key}" if told is asset else key: told for key, told in named}


def property_of(name, value):
    def edit(asset, feature, server):
        feature["properties"][name] = value

    return edit


def with_bands(value):
    def edit(asset, feature, server):
        asset["eo:bands"] = value

    return edit


def leading(href, **more):
    """A page whose next one is at another address."""

    def page(content, server):
        there = href.format(elsewhere=server.elsewhere_url, secret=SOURCES["bdc"].secret)
        content["links"] = [{"rel": "next", "href": there} | more]

    return page


def landing(href):
    """A first page that says that the search is at another address."""
    content = {"type": "Catalog", "links": [{"rel": "search", "href": href}]}
    return always("answer", "landing", content=content)


PRIVATE = "on a private network"
SECRET = f"no item of {SOURCES['bdc'].secret}"
CASES = [
    case("nothing"),
    # rights, and what is asked
    case("400", always("400"), "status 400 Bad Request"),
    case("401", always("401"), "status 401 Unauthorized"),
    case("403", always("403"), "status 403 Forbidden"),
    case("404", always("404"), "status 404 Not Found"),
    case("the token has ended", always("expired", ("landing", "search")),
         by_source(bdc="status 403 Forbidden (Forbidden)")),
    # busy
    case("429 with seconds, twice", once("429", retry_after=1, times=2)),
    case("429 without Retry-After", once("429", retry_after=None)),
    case("429 with a date", once("429", retry_after="date")),
    case("429 with a fraction", once("429", retry_after="0.5")),
    case("429 always", always("429"), "status 429 Too Many Requests"),
    case("429 for ten hours", once("429", retry_after=36_000), "to wait 36000 s"),
    case("500", once("500")),
    case("502", once("502")),
    case("503", once("503")),
    case("504", once("504")),
    case("502, 500, reset, 429 in turn",
         (*once("502"), *once("500"), *once("reset"), *once("429"))),
    case("500 always", always("500"), "status 500 Internal Server Error"),
    case("502 always", always("502"), "status 502 Bad Gateway, a page of text/html, 5 times"),
    case("503 always", always("503"), "status 503 Service Unavailable"),
    case("500 for the item, once", once("500", "item"), by_source(dgi=RECOVERED)),
    case("502 for the item, always", always("502", "item"), by_source(dgi="502 Bad Gateway")),
    # not the answer
    case("a page with 200, twice", once("html200", times=2)),
    case("a page with 200, always", always("html200"), "no JSON in an answer of text/html"),
    case("a page that is called JSON, always",
         always("html200", content_type="application/json"), "no JSON in an answer of"),
    case("a page in the place of the item, twice", once("html200", "item", times=2),
         by_source(dgi=RECOVERED)),
    case("JSON error with 200, twice", once("json200", times=2)),
    case("JSON error with 200, always", always("json200"), "Internal error"),
    case("JSON error that repeats the token", always("json200", message=SECRET),
         by_source(bdc="no item of ...")),
    case("nothing with 200", answer(b""), "no JSON in an answer of"),
    case("a list", answer(b"[]"), "no JSON object"),
    case("an empty object", answer(b"{}"), by_source("no features", "no features", "with nothing")),
    case("JSON without end", answer(b"[" * 10**6), "no JSON in an answer of"),
    case("features that are none", answer(b'{"features": [1, null]}'),
         by_source("an item without id", "an item without id", "an answer with features")),
    # not whole
    case("short body", once("short_body")),
    case("short body in chunks", once("short_body", chunked=True)),
    case("short body always", always("short_body"), "an answer that breaks off"),
    case("no length, whole", once("unframed")),
    case("no length, half, once", once("unframed", keep=0.5)),
    case("no length, half, always", always("unframed", keep=0.5), "no JSON in an answer of"),
    # the network
    case("connection reset", once("reset")),
    case("reset in the middle", once("reset", keep=0.5)),
    case("connection reset always", always("reset"), "no answer (ConnectionError), 5 times"),
    case("stall", once("stall", seconds=3), timeout_s=0.5),
    case("stall in the middle", once("stall", seconds=3, keep=0.5), timeout_s=0.5),
    case("stall always", always("stall", seconds=3), "no answer (ReadTimeout)", timeout_s=0.3),
    case("slow drip", once("drip", seconds=0.5)),
    case("drip without end", always("drip", seconds=3600, pieces=36_000),
         "slower than 1000 bytes a second, 5 times", patience_s=0.2),
    # elsewhere
    case("redirect loop", always("redirect_loop"), "status 307 Temporary Redirect"),
    case("redirect to another host by 302", always("redirect_elsewhere"), "status 302 Found"),
    case("redirect to another host by 307", always("redirect_elsewhere", status=307), "status 307"),
    case("redirect of the first page to another host", once("redirect_elsewhere", "landing"),
         api()),
    case("redirect of the first page that takes the token along",
         always("redirect_elsewhere", "landing", query=True),
         by_source(RECOVERED, "another host that would be given a secret")),
    case("redirect loop of the first page", always("redirect_loop", "landing"),
         api("more than 10 redirects")),
    case("redirect of the first page to a file", always("answer", "landing", status=302,
         headers={"Location": "file:///etc/passwd"}), api("an address of file")),
    case("a public catalogue", public=True),
    case("a public catalogue redirects to a private network",
         always("answer", "landing", status=302, headers={"Location": "http://10.1.2.3/"}),
         api(PRIVATE), public=True),
    case("a public catalogue: its search is on a private network", landing("http://10.1.2.3/"),
         api(PRIVATE), public=True),
    case("a public catalogue: its next page is on a private network", (), api(PRIVATE), public=True,
         page=leading("http://169.254.169.254/latest")),
    # pages
    case("a next page that is this one", always("looping_next"), "that was there before",
         halves=True),
    case("a next page that is no address", (), api("a link to http://[::1"),
         page=leading("http://[::1")),
    case("a next page that is a file", (), api("an address of file"),
         page=leading("file:///etc/passwd")),
    case("a next page at another host", (), api("status 404 Not Found"),
         page=leading("{elsewhere}/next")),
    case("a next page at another host, the token in it", (),
         by_source(bdc="another host that would be given a secret"),
         page=leading("{elsewhere}/next?access_token={secret}")),
    case("items twice", always("duplicate_item"), halves=True),
    # items
    case("a tile is missing", always("missing_item"), "1 scenes of 1 that fit, over 50.0 %",
         halves=True, per_page=100),
    case("the scene is missing", always("missing_item"), "0 scenes of 0 that fit"),
    case("the item is missing", always("missing_item", "item"), by_source(dgi="no item CBERS4A")),
    case("an asset of another key, eo:common_name left",
         always("renamed_asset", ("search", "item"))),
    case("an asset of another key, and nothing else", (), "assets new-", edit=without_names),
    case("bands that are numbers", edit=with_bands([0])),
    case("a cloud cover that is NaN", edit=property_of("eo:cloud_cover", float("nan"))),
    case("../ in the id", always("path_traversal", ("search", "item")), "the name '../../../trav"),
    case("../ in an asset's key", (), "the name '../../../", edit=with_dots),
    case("a file of file://", (), "an address of file", edit=at("file:///etc/passwd")),
    case("a file of ftp://", (), "an address of ftp", edit=at("ftp://127.0.0.1/x.tif")),
    case("a file of this machine", (), by_source(dgi="no scheme (/etc/passwd)"),
         edit=at("/etc/passwd")),
    case("a file of this machine, by ../", (), by_source(dgi="no scheme (../../"),
         edit=at("../../../etc/passwd")),
    case("a file without an address", (), "no scheme", edit=at("")),
    case("a file at an address that is none", (), "no scheme (http://[::1",
         edit=at("http://[::1")),
    # too much
    case("a body of 1 TiB, told", always("oversize", size=2**40), "over N bytes"),
    case("a body of 1 TiB, not told", always("oversize", size=2**40, length=False), "over N bytes"),
    case("a compressed bomb", answer(gzip.compress(b" " * 2**26), Content_Encoding="gzip"),
         "over N bytes"),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Scenes of each source: whole, and in halves."""
    folder = tmp_path_factory.mktemp("scenes")
    return {
        (name, halves): source.halves(folder) if halves else [source.scenes(folder)]
        for name, source in SOURCES.items()
        for halves in (False, True)
    }


@pytest.mark.parametrize("chosen", cells(CASES, WAYS), ids=name_of)
def test_whatever_goes_wrong(chosen, made, tmp_path, monkeypatch, capsys, caplog):
    """Scenes would be lost or taken twice, a secret be told, or a page of Python be all that a
    user sees."""
    it, way, name = chosen
    caplog.set_level("DEBUG")
    scenes = made[name, it.halves]
    with opened(SOURCES[name], it, scenes, tmp_path, monkeypatch, capsys, caplog) as cell:
        ROWS[it.title, way, name] = check_cell(cell, it, way)


def test_the_table_of_the_documentation(capsys):
    """The documentation would promise what is not so."""
    if len(ROWS) < len(cells(CASES, WAYS)):
        pytest.skip("not all cells have run")
    table = markdown(CASES, "search", ROWS)
    with capsys.disabled():
        print(f"\n{table}")
    assert in_documentation(table)


# --------------------------------------------------------------------- what nobody has thought of
STRANGE = [None, True, 0, -1.5, 1e999, float("nan"), "", "a" * 1000, "\0", "../x", "http://[::1",
           [], {}, [[]], [None], {"a": None}, {"name": 1}, [1, "2"], "\ud800", 10**400]  # fmt: skip


def spoilt(value, dice):
    """The value, something strange in one place of it."""
    if isinstance(value, dict | list) and value and dice.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = dice.choice(keys)
        value[key] = spoilt(value[key], dice)
        return value
    return dice.choice(STRANGE)


@pytest.mark.parametrize("name", SOURCES)
def test_strange_items_are_never_a_page_of_python(
    name, made, tmp_path, monkeypatch, capsys, caplog
):
    """An item that is wrong in a way that nobody has thought of would end in a traceback."""
    dice, found = random.Random(5), set()

    def edit(asset, feature, server):
        key = dice.choice(["assets", "properties", *feature])
        feature[key] = spoilt(copy.deepcopy(feature[key]), dice)

    cells = Case("strange", edit=edit)
    with opened(SOURCES[name], cells, made[name, False], tmp_path, monkeypatch, capsys,
                caplog) as cell:  # fmt: skip
        for number in range(40):
            cell.server.requests.clear()
            area = cell.source.area("whole" if number % 2 else "window")
            line = cell.search(area)
            line = line or cell.download(area)
            found.add(line)
            if not line:
                cell.check_pixels()
            assert len(cell.server.requests) < 20
        cell.check_secrets()
    assert len(found) > 5
