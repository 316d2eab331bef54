"""Files that are kept are those that were wanted, and nothing beside them holds a secret."""

import hashlib
from pathlib import Path

import pytest
from fetching import BODY, KEPT, MIB, SHA256, fetch, left, refused, right, served

from mapmill.catalogue import http, keep
from mapmill.errors import CatalogueError

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def server(tmp_path, monkeypatch):
    yield from served(tmp_path, monkeypatch)


# ------------------------------------------------------------------------------------- checks
def digest(name):
    return hashlib.new(name, BODY).hexdigest()


MULTIHASH = {
    "sha256": "1220",
    "sha512": "1340",
    "sha1": "1114",
    "md5": "d50110",
}


@pytest.mark.parametrize("name", MULTIHASH)
def test_checksums_of_catalogues(server, name):
    """A scene that was damaged on its way would become part of a map."""
    checksum = MULTIHASH[name] + digest(name)
    fetch(server, checksum.upper())
    assert right()["checksum"] == checksum.upper()
    KEPT.unlink()
    line = refused(server, checksum[:-1] + ("0" if checksum[-1] != "0" else "1"))
    assert f"found {name} {digest(name)}; expected " in line and "check the address" in line
    assert left() == ["scene.tif.json"]


@pytest.mark.parametrize("checksum", ["", None, "1620" + "0" * 64, "1220abcd", "what"])
def test_checksums_that_cannot_be_checked(server, caplog, checksum):
    """Catalogues leave them empty, or use algorithms that nobody has: no scene would arrive."""
    with caplog.at_level("INFO"):
        fetch(server, checksum)
    assert ("cannot be checked" in caplog.text) == bool(checksum)
    right()


def test_a_named_checksum_that_is_mistyped(server):
    """A digest with a letter too few would check nothing, though the user gave one."""
    assert "found sha256" in refused(server, f"sha256:{SHA256[:-1]}")


@pytest.mark.parametrize("told", [True, False])
def test_more_than_the_limit(server, told):
    """An address of something else would fill the disk."""
    server.more = {} if told else {"Content-Length": None}
    wanted = keep.Wanted(server.url, limit=MIB, remedy="ask for less")
    with pytest.raises(CatalogueError, match=rf"{len(BODY) if told else 'over ' + str(MIB)} bytes"):
        keep.fetch(wanted, KEPT)
    assert left() == []


def test_a_check_that_finds_damage(server):
    """A scene that is whole and cannot be decoded would be kept for ever."""
    seen = []

    def check(path):
        seen.append(path.read_bytes())
        if len(seen) < 3:
            raise http.DamagedError(server.url, "no image", "an image", "rerun later")
        return {"crs": "EPSG:32723", "url": "of no account"}

    fetch(server, check=check, record={"item": "A"})
    assert seen == [BODY] * 3 and server.ranges_asked() == [None] * 3
    record = right()
    assert record["crs"] == "EPSG:32723" and record["item"] == "A" and record["url"] == server.url


def test_a_check_that_goes_on_finding_damage(server):
    """A run would fetch the same bad file for a night."""

    def check(_):
        raise http.DamagedError(server.url, "no image", "an image", "rerun later")

    assert "no image" in refused(server, check=check)
    assert len(server.asked) == http.DAMAGED and left() == []


@pytest.mark.parametrize("error", [CatalogueError("x", "another CRS", "this", "that"), KeyError()])
def test_a_check_that_finds_it_wrong(server, error):
    """A file that is wrong for good would be fetched again and again, or stay as a part."""

    def check(_):
        raise error

    with pytest.raises(type(error)):
        fetch(server, check=check)
    assert len(server.asked) == 1 and left() == []


# ------------------------------------------------------------------------------------ secrets
@pytest.mark.parametrize("status", [401, 403])
def test_an_address_that_ran_out_is_renewed(server, status):
    """Signed addresses end after an hour: a long download would end with them."""
    told = []

    def ask(again):
        told.append(again)
        return keep.Ask(server.url, {"token": f"{SECRET}-{len(told)}"}, (f"{SECRET}-{len(told)}",))

    server.steps = [{"cut": 2 * MIB}, {"status": status}]
    fetch(server, ask=ask)
    assert told == [False, True]
    assert [each.path[-1] for each in server.asked] == ["1", "1", "2"]
    assert server.ranges_asked()[1:] == [f"bytes={2 * MIB}-"] * 2
    assert right()["url"] == server.url


def test_addresses_run_out_again_and_again(server):
    """A download that takes longer than two signed addresses live would not arrive."""
    told = []

    def ask(again):
        told.append(again)
        return keep.Ask(server.url, {}, ())

    server.steps = [{"status": 403}, {"cut": MIB}, {"status": 403}, {"cut": MIB}]
    fetch(server, ask=ask)
    assert told == [False, True, True]
    right()


def test_a_refusal_that_stays(server, caplog):
    """A wrong password would be tried for ever and lock the account; or be told to everybody."""
    url = server.url.replace("//", "//user:word@") + f"?sig={SECRET}"

    def ask(again):
        return keep.Ask(url, {"token": SECRET}, (SECRET,))

    server.steps = [{"status": 403}] * 3
    with caplog.at_level("DEBUG"):
        line = refused(server, ask=ask)
    assert "status 403" in line and "check the address" in line and len(server.asked) == 2
    assert "Basic " in server.asked[0].headers["Authorization"]
    assert not [word for word in (SECRET, "word@", "token=") if word in line + caplog.text]


def test_nothing_on_disk_holds_a_secret(server):
    """A store that is shared would give everybody the key of one."""
    url = server.url.replace("//", "//user:word@") + f"?sig={SECRET}"
    server.steps = [{"cut": 2 * MIB}] + [{"status": 503}] * 5
    with pytest.raises(CatalogueError):
        keep.fetch(keep.Wanted(url), KEPT, ask=lambda _: keep.Ask(url, {"key": SECRET}, (SECRET,)))
    names = left()
    assert names == [".scene.tif.partial", ".scene.tif.partial.json"]
    keep.fetch(keep.Wanted(url), KEPT, ask=lambda _: keep.Ask(url, {"key": SECRET}, (SECRET,)))
    assert right()["url"] == server.url
    assert "word" not in Path(f"{KEPT}.json").read_text()


def test_records_do_not_depend_on_the_time(server):
    """Two runs would give two stores that differ."""
    fetch(server)
    first = Path(f"{KEPT}.json").read_bytes()
    KEPT.unlink()
    server.steps = [{"cut": MIB}]
    fetch(server)
    assert Path(f"{KEPT}.json").read_bytes() == first
