"""Files by their address, from a real server on this machine: whole and right, or not kept."""

import hashlib
import socket
from pathlib import Path

import pytest
from answering import BODY, answer, serving
from stages.stage_steps import area_with, mapmill, refused_cleanly

from mapmill.catalogue import http, keep
from mapmill.errors import CatalogueError

SHA256 = hashlib.sha256(BODY).hexdigest()
PATH = "/maps/cover.tif"
BACKOFF_S = http.BACKOFF_S


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder of its own, no proxy, and no waiting between attempts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 2))


def kept():
    """All files of the store; each that is fetched has its record beside it."""
    found = sorted(str(p) for p in Path("resources").rglob("*") if p.is_file())
    records = [f"{name}.json" for name in found if f"{name}.json" in found]
    assert len(records) * 2 == len(found)
    return [name for name in found if name not in records]


def refused(url, size=None, sha256=None):
    """The one line of a fetch that must fail and leave nothing."""
    with pytest.raises(CatalogueError) as caught:
        keep.fetch_address(url, size, sha256, "labels")
    assert "\n" not in str(caught.value) and str(caught.value).startswith(
        f"{http.shown(url)}: found "
    )
    assert kept() == []
    return str(caught.value)


@pytest.mark.parametrize("size", [None, len(BODY)])
@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_fetched_once(size, sha256):
    """A land-cover map of gigabytes would be fetched again by every run."""
    with serving(answer(Content_Type="image/tiff")) as server:
        for _ in range(3):
            path = keep.fetch_address(server.url + PATH, size, sha256, "labels")
            assert path.read_bytes() == BODY and path.name == "cover.tif"
            assert kept() == [str(path)]
        assert server.asked == [PATH]


def test_what_is_expected_is_part_of_the_request():
    """After the size or the digest was corrected the old file would still be taken."""
    with serving(answer()) as server:
        first = keep.fetch_address(server.url + PATH, None, None, "labels")
        second = keep.fetch_address(server.url + PATH, None, SHA256, "labels")
        other = keep.fetch_address(server.url + PATH + "?edition=2", None, None, "labels")
        assert len({first, second, other}) == len(server.asked) == 3


@pytest.mark.parametrize("headers", [{}, {"Content_Length": None}, {"Content_Type": "text/plain"}])
def test_another_size(headers):
    """A truncated or replaced file would be learnt from."""
    with serving(answer(**headers)) as server:
        line = refused(server.url + PATH, len(BODY) - 1)
        assert "Content_Type" in headers or f"expected {len(BODY) - 1}" in line
        refused(server.url + PATH, len(BODY) + 1)


def test_another_digest():
    """Weights that somebody has replaced would be loaded."""
    with serving(answer()) as server:
        line = refused(server.url + PATH, len(BODY), "0" * 64)
        assert f"sha256 {SHA256}; expected {'0' * 64}; correct labels.sha256" in line


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "Application/JSON"])
def test_a_page_is_not_the_file(kind):
    """The page of a log-in would be kept as the map, with status 200."""
    with serving(answer(b"<html>Sign in</html>", Content_Type=kind)) as server:
        line = refused(server.url + PATH)
        assert "a page of " in line and "open the address in a browser" in line


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/geo+json"])
def test_polygons_are_served_as_text(kind):
    """Labels as GeoJSON could not be fetched, since servers call them JSON or text."""
    with serving(answer(b'{"type": "FeatureCollection"}', Content_Type=kind)) as server:
        path = keep.fetch_address(server.url + "/plots.GeoJSON?raw=1", None, None, "labels")
        assert path.name == "plots.GeoJSON" and path.read_bytes().startswith(b'{"type"')


def test_a_page_is_not_polygons():
    """The page of a log-in would be kept as polygons."""
    with serving(answer(b"<html>", Content_Type="text/html")) as server:
        assert "a page of text/html" in refused(server.url + "/plots.geojson")


@pytest.mark.parametrize(("status", "said"), [(404, "404 Not Found"), (403, "403"), (204, "204")])
def test_a_refusal_is_told(status, said):
    """A moved file would end in a page of Python, or its error page be kept."""
    with serving(answer(b"", status)) as server:
        line = refused(server.url + PATH)
        assert f"found status {said}" in line and "check the address" in line
        assert len(server.asked) == 1


def test_a_body_that_is_too_short():
    """A connection that breaks off would leave half a map, to be found hours later."""
    with serving(answer(Content_Length=len(BODY) + 1000)) as server:
        assert "an answer that breaks off" in refused(server.url + PATH)
    with serving(answer(b"", Content_Length=1000)) as server:
        assert "an answer that breaks off" in refused(server.url + PATH, 1000)


def test_a_server_that_hangs_up():
    """A network that fails would end in a page of Python."""
    with serving((None, {}, b"")) as server:
        line = refused(server.url + PATH)
        assert "no answer" in line and "check the network and rerun" in line
        assert len(server.asked) == http.ATTEMPTS


def test_no_server():
    """A network that is off would end in a page of Python."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        assert "no answer (ConnectionError)" in refused(
            f"http://127.0.0.1:{taken.getsockname()[1]}{PATH}"
        )
    assert "no answer" in refused(f"http://name.invalid{PATH}")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status):
    """A long run would stop at the first second of maintenance."""
    busy = answer(b"later", status)
    with serving(busy, busy, answer()) as server:
        path = keep.fetch_address(server.url + PATH, len(BODY), SHA256, "labels")
        assert path.read_bytes() == BODY and len(server.asked) == 3


def test_a_server_that_stays_busy():
    """A user would read of retries, and not what the server said."""
    with serving(answer(b"later", 503)) as server:
        assert "found status 503 Service Unavailable" in refused(server.url + PATH)
        assert len(server.asked) == http.ATTEMPTS


def test_attempts_wait_longer_each_time(monkeypatch):
    """A server that is overloaded would be asked five times in a second."""
    waits = []
    monkeypatch.setattr(http.time, "sleep", waits.append)
    monkeypatch.setattr(http, "BACKOFF_S", BACKOFF_S)
    with serving(answer(b"later", 503)) as server:
        refused(server.url + PATH)
    assert len(waits) == http.ATTEMPTS - 1
    assert waits == sorted(waits) and waits[0] >= 0.5 and sum(waits) >= 8


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("3", 3, 3), ("1.5", 1.5, 1.5), ("Fri, 01 Jan 2100 00:00:00 GMT", None, None), ("soon", 0, 5)],
)
def test_the_wait_that_a_server_asks_for(monkeypatch, text, least, most):
    """A server would be asked too soon and lock the user out, or a run sleep for hours."""
    waits = []
    monkeypatch.setattr(http.time, "sleep", waits.append)
    with serving(answer(b"later", 429, Retry_After=text), answer()) as server:
        if least is None:
            assert "to wait" in refused(server.url + PATH) and waits == []
        else:
            keep.fetch_address(server.url + PATH, None, None, "labels")
            assert len(waits) == 1 and least <= waits[0] <= most


def test_a_redirect_is_followed():
    """A file behind a permanent address could not be fetched."""
    with serving(answer(b"", 302, Location="/elsewhere/x.bin"), answer()) as server:
        path = keep.fetch_address(server.url + PATH, len(BODY), SHA256, "labels")
        assert path.name == "cover.tif" and server.asked == [PATH, "/elsewhere/x.bin"]


def test_an_interrupted_fetch_leaves_what_was_there():
    """A failed attempt would take the good file of another request with it."""
    with serving(answer()) as server:
        good = keep.fetch_address(server.url + PATH, None, SHA256, "labels")
        with pytest.raises(CatalogueError):
            keep.fetch_address(server.url + PATH, None, "0" * 64, "labels")
        assert kept() == [str(good)] and good.read_bytes() == BODY


NAMES = {
    "/a/../../../../escape.tif": "escape.tif",
    "/a/..": "file",
    "/a/...": "file",
    "/a/.hidden": "hidden",
    "/..%2F..%2Fescape.tif": "_2F.._2Fescape.tif",
    "/%2e%2e/x": "x",
    "/a\\..\\b.tif": "a_.._b.tif",
    "/a/b.tif?path=../../c": "b.tif",
    "/a/b c:d|e.tif": "b_c_d_e.tif",
    "/a/": "file",
    "/" + "x" * 300 + ".tif": "x" * 116 + ".tif",
}


@pytest.mark.parametrize("address", NAMES)
def test_names_stay_in_their_folder(address):
    """An address could make mapmill write over the user's own files, or end in a page of Python."""
    with serving(answer()) as server:
        path = keep.fetch_address(server.url + address, None, None, "labels")
    assert path.name == NAMES[address]
    assert path.parent.parent == Path("resources/url")
    assert {p for p in Path().rglob("*") if p.is_file()} == {path, Path(f"{path}.json")}
    assert path.resolve().is_relative_to(Path("resources/url").resolve())


def weights_area(url, sha256):
    weights = {"url": url, "sha256": sha256}
    return area_with("here", select={"size": 64}, train={"encoder": "resnet18", "weights": weights})


def test_weights_by_the_command(capsys):
    """Weights of another digest, or the page of a server, would be trained from."""
    target = Path("out/weights-unet.pth")
    with serving(answer()) as server:
        wrong = weights_area(f"{server.url}/w.pth", "1" * 64)
        line = refused_cleanly(capsys, "download", wrong, target.name, target)
        assert f"sha256 {SHA256}; expected {'1' * 64}; correct train.weights.sha256" in line
        assert kept() == []
        right = weights_area(f"{server.url}/w.pth", SHA256)
        mapmill("download", right, target.name, target)
        assert target.is_symlink() and target.read_bytes() == BODY
        assert not target.readlink().is_absolute() and len(server.asked) == 2
        target.unlink()
        mapmill("download", right, target.name, target)
        assert len(server.asked) == 2


def test_weights_from_the_network_need_a_digest(capsys):
    """Whatever a server serves on the day would become part of the model."""
    area = weights_area("https://example.org/w.pth", None)
    assert "url without sha256" in refused_cleanly(capsys, "check", area)
