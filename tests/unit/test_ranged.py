"""Parts of remote files: the bytes of one version of the file, or one line."""

import io
import random

import pytest
import range_server as faults
from range_server import serving

from mapmill.catalogue import http, ranged
from mapmill.catalogue.ranged import CHUNK, RangedFile
from mapmill.catalogue.wanted import Ask
from mapmill.errors import CatalogueError

MIB = 2**20
CONTENT = random.Random(7).randbytes(20 * MIB + 12_345)
HIDDEN = "sig-of-this-test"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxy, and no waiting between attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 2))


def file_of(server, tokens=(HIDDEN,), **more):
    """The server's file; each time it is asked for a new address there is another token."""
    left = list(tokens)

    def ask(renew):
        token = left.pop(0) if len(left) > 1 else left[0]
        return Ask(server.url, {"sig": token}, tuple(tokens))

    return RangedFile(ask, where="scene S1, B04", **({"size": None, "base": None} | more))


def refused(file, start=0, count=100):
    """The one line of a read that fails; it fails again, and gives nothing."""
    buffer = bytearray(b"x" * count)
    file.seek(start)
    with pytest.raises(CatalogueError) as first:
        file.readinto(buffer)
    assert file.error is first.value
    for again in (lambda: file.read(10), lambda: file.seek(0) or file.read(1)):
        with pytest.raises(CatalogueError) as later:
            again()
        assert later.value is first.value
    text = str(first.value)
    assert text.startswith("scene S1, B04: found ") or "127.0.0.1" in text
    assert HIDDEN not in text and "\n" not in text
    return text


def test_it_reads_as_the_file_itself_does():
    """Otherwise a pixel would come from another place of the file."""
    numbers, plain = random.Random(3), io.BytesIO(CONTENT)
    with serving(CONTENT) as server, file_of(server, size=len(CONTENT)) as file:
        assert file.readable() and file.seekable() and not file.writable()
        for _ in range(60):
            whence = numbers.choice([0, 1, 2])
            low = {0: 0, 1: -plain.tell(), 2: -len(CONTENT)}[whence]
            offset = numbers.randrange(low, low + len(CONTENT) + 100)
            assert file.seek(offset, whence) == plain.seek(offset, whence)
            count = numbers.choice([0, 1, 100, MIB, 3 * MIB, 30 * MIB])
            assert file.read(count) == plain.read(count)
            assert file.tell() == plain.tell()
        with pytest.raises(ValueError, match="byte -1"):
            file.seek(-1)
        assert file.seek(0) == 0 and file.read() == CONTENT


def test_few_bytes_come_in_few_requests():
    """Otherwise a small area would cost as much as the whole scene."""
    with serving(CONTENT) as server, file_of(server) as file:
        file.seek(5 * MIB + 10)
        assert file.read(100) == CONTENT[5 * MIB + 10 :][:100]
        file.seek(5 * MIB)
        assert file.read(MIB) == CONTENT[5 * MIB : 6 * MIB]
        asked = [header for _, header in server.asked]
        assert asked == [f"bytes=0-{MIB - 1}", f"bytes={5 * MIB}-{6 * MIB - 1}"]
        assert (file.requests, file.bytes) == (2, 2 * MIB) and server.sent == 2 * MIB
        file.seek(4 * MIB)
        assert file.read(4 * MIB) == CONTENT[4 * MIB : 8 * MIB]  # around what is there
        asked = [header for _, header in server.asked[2:]]
        assert asked == [f"bytes={4 * MIB}-{5 * MIB - 1}", f"bytes={6 * MIB}-{8 * MIB - 1}"]


def test_bytes_that_are_wanted_come_together():
    """Otherwise each tile of a row would wait for its own answer."""
    with serving(CONTENT) as server, file_of(server) as file:
        file.want([(2 * MIB + 5, 3 * MIB), (3 * MIB, 14 * MIB + 1), (16 * MIB, 10**9)])
        for start in range(2 * MIB + 5, 14 * MIB, 300_000):
            file.seek(start)
            assert file.read(300_000) == CONTENT[start : start + 300_000]
        assert [header for _, header in server.asked[1:]] == [
            f"bytes={2 * MIB}-{10 * MIB - 1}",
            f"bytes={10 * MIB}-{15 * MIB - 1}",
        ]


def test_memory_is_bounded(monkeypatch):
    """Otherwise a scene of ten gigabytes would be in memory as a whole."""
    monkeypatch.setattr(ranged, "KEPT", 8)
    with serving(CONTENT) as server, file_of(server) as file:
        for _ in range(2):
            file.seek(0)
            assert file.read(12 * MIB) == CONTENT[: 12 * MIB]
            assert len(file._kept) <= 8
        assert file.bytes > 20 * MIB  # what was forgotten was asked for again


def test_a_small_file_comes_at_once():
    """Otherwise a file that is shorter than a chunk could not be read."""
    for content in (CONTENT[:1], CONTENT[:MIB], CONTENT[: MIB + 1]):
        with serving(content) as server, file_of(server, size=len(content)) as file:
            assert file.size == len(content) and file.read() == content
            assert file.requests == -(-len(content) // CHUNK)


PASSING = {
    "short": faults.short,
    "short and content": faults.short_and_content,
    "long": faults.long,
    "500": faults.status(500),
    "503": faults.status(503, {"Retry-After": "0"}),
    "429": faults.status(429),
    "reset": faults.reset,
    "other range": faults.other_range,
    "no range": faults.with_headers(Content_Range=None),
    "page 200": faults.page(200),
    "page 206": faults.page(206),
}


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("fault", PASSING)
def test_what_goes_wrong_once_is_asked_again(fault, at):
    """Otherwise one hiccup in thousands of requests would end a night's work."""
    with serving(CONTENT, {at: PASSING[fault]}) as server, file_of(server) as file:
        file.seek(10 * MIB)
        assert file.read(9 * MIB) == CONTENT[10 * MIB : 19 * MIB]
        assert (file.requests, file.bytes) == (3, 10 * MIB) and len(server.asked) == 4


LASTING = {
    "short": (faults.short, "breaks off"),
    "short and content": (faults.short_and_content, f"found {MIB // 2} bytes"),
    "long": (faults.long, f"found over {MIB} bytes"),
    "500": (faults.status(500), "status 500"),
    "404": (faults.status(404), "status 404"),
    "reset": (faults.reset, "no answer"),
    "other range": (faults.other_range, "found Content-Range 'bytes "),
    "no range": (faults.with_headers(Content_Range=None), "Content-Range ''"),
    "star": (faults.with_headers(Content_Range="bytes 0-9/*"), "'bytes 0-9/*'"),
    "page 200": (faults.page(200), "a page of text/html"),
    "page 206": (faults.page(206), "a page of text/html"),
    "gzip": (faults.with_headers(Content_Encoding="gzip"), "compressed answer"),
    "403": (faults.status(403), "status 403"),
    "401": (faults.status(401), "status 401"),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("fault", LASTING)
def test_what_stays_wrong_is_told_in_one_line(fault, late):
    """Otherwise the pixels of a page of HTML, or none at all, would be on the map."""
    wrong, words = LASTING[fault]
    with serving(CONTENT) as server, file_of(server) as file:
        if late:
            assert file.read(1) == CONTENT[:1]
        server.faults = {"every": wrong}
        assert words in refused(file, start=3 * MIB)
        assert len(server.asked) <= http.ATTEMPTS + late


def test_no_ranges_is_told_at_once():
    """Otherwise the whole file would be fetched again and again."""
    with serving(CONTENT, {"every": faults.whole}) as server, file_of(server) as file:
        assert "set download.read: whole" in refused(file)
        assert len(server.asked) == 1
    with serving(CONTENT) as server, file_of(server) as file:
        assert file.read(1) == CONTENT[:1]
        server.faults = {"every": faults.whole}
        assert "found the whole file; expected a part of it" in refused(file, start=2 * MIB)


def test_a_page_said_to_be_the_file_is_none():
    """Otherwise GDAL would say that the scene is no raster, and nobody would know why."""
    with serving(CONTENT, {"every": faults.unnamed_page}) as server, file_of(server) as file:
        assert "a page of HTML" in refused(file)


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_parts_of_two_versions_are_never_mixed(name):
    """Otherwise half of a scene would be from before its reprocessing."""
    before, after = ({name: text} for text in ('"old"', '"new"'))
    with serving(CONTENT, {0: lambda _, s, h, b: (s, h | before, b)}) as server:
        server.faults["every"] = lambda _, s, h, b: (s, h | after, b)
        with file_of(server) as file:
            text = refused(file, start=2 * MIB)
            assert "changed while it was read" in text and text.endswith("rerun")


def test_another_length_is_another_version():
    """Otherwise the end of a new file would be added to the start of an old one."""
    for content in (CONTENT + b"x", CONTENT[:-1], CONTENT[:MIB]):
        with serving(CONTENT) as server, file_of(server) as file:
            assert file.read(1) == CONTENT[:1]
            server.content = content
            assert "changed while it was read" in refused(file, start=2 * MIB)


def test_another_length_than_the_catalogue_says():
    """Otherwise a file that is not the catalogue's would pass for it."""
    with serving(CONTENT) as server, file_of(server, size=len(CONTENT) + 1) as file:
        text = refused(file)
        assert f"found {len(CONTENT)} bytes; expected {len(CONTENT) + 1} bytes" in text
        assert len(server.asked) == http.DAMAGED


def test_a_signed_address_is_renewed():
    """Otherwise a long download would end when its first address expires."""
    tokens = ("token-a", "token-b", "token-c", "token-d")
    with serving(CONTENT) as server, file_of(server, tokens=tokens) as file:
        server.faults["every"] = faults.signed("token-a")
        assert file.read(1) == CONTENT[:1]
        server.faults["every"] = faults.signed("token-b")
        file.seek(4 * MIB)
        assert file.read(10) == CONTENT[4 * MIB :][:10]
        server.faults["every"] = faults.signed("token-c")  # and a second time
        file.seek(8 * MIB)
        assert file.read(10) == CONTENT[8 * MIB :][:10]
        server.faults["every"] = faults.signed("token-none")
        before = len(server.asked)
        assert "status 403" in refused(file, start=12 * MIB)
        assert len(server.asked) == before + 2


def test_an_error_of_ask_ends_all_reading():
    """Otherwise a secret that is missing would be looked for a thousand times."""

    def ask(_):
        raise CatalogueError("scene S1, B04", "no account", "one", "give it")

    assert "no account" in refused(RangedFile(ask, where="scene S1, B04", size=None, base=None))


def test_a_private_address_of_a_public_catalogue_is_refused():
    """Otherwise a catalogue could have us ask our own machines."""
    with serving(CONTENT) as server, file_of(server, base="https://stac.example.org/v1") as file:
        assert "private network" in refused(file)
        assert not server.asked
