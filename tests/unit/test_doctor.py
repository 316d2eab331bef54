"""`mapmill doctor`: each thing that is missing is a line, with what to do about it."""

import shutil
import socket
import sys
import time
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import yaml
from answering import answer, serving
from chip_making import chip_area, simulated_chip, write_chip
from making import SMALL_AREA, write_area
from servers.areas import SECRET, become_client, hub_area
from servers.sentinel_hub import SentinelHub

from mapmill import doctor, machine
from mapmill.catalogue import http
from mapmill.cli import main
from mapmill.doctor import examine, told

BIN = str(Path(sys.executable).parent)
JSON = {"Content_Type": "application/json"}


@pytest.fixture(autouse=True)
def _as_activated(monkeypatch):
    """As after `source .venv/bin/activate`, without anybody's account."""
    monkeypatch.setenv("PATH", f"{BIN}:/usr/bin:/bin")
    for name in ("SH_CLIENT_ID", "SH_CLIENT_SECRET", "BDC_ACCESS_TOKEN", "INPE_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def rows_of(path):
    """Rows by what was checked."""
    return {row.what: row for row in examine(path)}


def changed(name="changed", **sections):
    """The small area with other sections."""
    return write_area(name, yaml.safe_dump(yaml.safe_load(SMALL_AREA) | sections, sort_keys=False))


def catalogue_area(source, **chosen):
    return changed(
        search={
            "source": source,
            "periods": {"2018-04": {}},
            "catalogue": {"collections": ["S2-16D-2"], **chosen},
        }
    )


def test_an_area_of_files_is_ready(small_area, capsys):
    """Somebody who has all that is needed would be told to look for more."""
    assert main(["doctor", str(small_area)]) == 0
    said = capsys.readouterr().out
    for what in ("area file", "imagery 2018-04", "labels", "disk: results/", "memory", "GPU"):
        assert f"\n{what} " in f"\n{said}"
    assert "GDAL" in said and "PROJ" in said and "Snakemake" in said
    assert "3 files of 1 scenes" in said and "-> " not in said
    assert said.splitlines()[-1] == f"Nothing is missing. Next: mapmill estimate {small_area}"
    assert max(map(len, said.splitlines())) <= 100


def test_what_is_missing_comes_with_a_remedy(small_area, capsys):
    """A night's run would end at its second step."""
    Path("data/labels.tif").unlink()
    assert main(["doctor", str(small_area)]) == 1
    said = capsys.readouterr().out
    assert "labels missing no data/labels.tif -> get the file" in " ".join(said.split())
    assert said.splitlines()[-1] == "First: labels: get the file, or correct its path"


def test_a_broken_area_file_is_the_first_line(small_area, capsys):
    """The doctor would be as ill as the patient."""
    small_area.write_text(small_area.read_text().replace("bands: [", "bandz: ["))
    assert main(["doctor", str(small_area)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("area file  failed") and "did you mean 'bands'?" in said[-1]


def test_imagery_that_is_not_there_is_told(small_area):
    """The same, for a pattern with a typing mistake."""
    path = changed(search={"source": "files", "periods": {"2018-04": {"files": "dat/{band}.tif"}}})
    row = rows_of(path)["imagery 2018-04"]
    assert row.state == "failed" and "no file like dat/{band}.tif" in row.found


# ------------------------------------------------------------------------------ Sentinel Hub
def test_missing_account_says_what_to_export(small_area):
    """A user would find out in the middle of the first download."""
    row = rows_of(hub_area())["account"]
    assert row.state == "missing" and "no SH_CLIENT_ID and no SH_CLIENT_SECRET" in row.found
    assert "export SH_CLIENT_ID=... SH_CLIENT_SECRET=..." in row.remedy


def test_account_that_works_is_accepted_without_a_unit(small_area, monkeypatch, capsys):
    """Looking would cost what a map costs."""
    with SentinelHub() as server:
        become_client(server, monkeypatch)
        assert main(["doctor", str(hub_area())]) == 0
        assert server.count("token") == 1 and server.count("process") == 0
    said = capsys.readouterr().out
    assert "the account is accepted" in said and server.client_secret not in said


def test_wrong_secret_is_told_and_never_shown(small_area, monkeypatch, capsys):
    """A secret would be pasted into a forum with the table."""
    with SentinelHub() as server:
        become_client(server, monkeypatch)
        monkeypatch.setenv("SH_CLIENT_SECRET", SECRET)
        assert main(["doctor", str(hub_area())]) == 1
    said, errors = capsys.readouterr()
    assert "Sentinel Hub failed" in " ".join(said.split()) and "status 401" in said
    assert SECRET not in said + errors


def test_a_dead_network_takes_seconds_and_no_longer(small_area, monkeypatch):
    """The table would come after ten minutes of patience that a download has."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("SH_TOKEN_URL", f"{url}/token")
        monkeypatch.setenv("SH_CLIENT_ID", "id")
        monkeypatch.setenv("SH_CLIENT_SECRET", SECRET)
        before = http.ATTEMPTS, http.TIMEOUT_S
        start = time.monotonic()
        rows = rows_of(hub_area())
        assert time.monotonic() - start < 300
    assert rows["Sentinel Hub"].state == "failed" and "1 times" not in rows["Sentinel Hub"].found
    assert before == (http.ATTEMPTS, http.TIMEOUT_S)


# --------------------------------------------------------------------------------- catalogues
@pytest.mark.parametrize("source", ["stac", "bdc", "dgi"])
def test_catalogue_that_answers(source, small_area, monkeypatch):
    """A catalogue that has moved would be found out after the labels were fetched."""
    body = b'[{"rel": "self"}]' if source == "dgi" else b'{"type": "Catalog", "id": "INPE"}'
    with serving(answer(body, **JSON)) as server:
        names = {"stac": "STAC_BASE_URL", "bdc": "BDC_BASE_URL", "dgi": "INPE_BASE_URL"}
        monkeypatch.setenv(names[source], f"{server.url}/v1/")
        api = {"api": "https://example.org/v1"} if source == "stac" else {}
        row = rows_of(catalogue_area(source, **api))["catalogue"]
        assert row.state == "ok" and row.found.endswith("answers")
        assert server.asked == ["/v1/lgi-stac/" if source == "dgi" else "/v1"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (answer(b"<html>Falha interna</html>", Content_Type="text/html"), "text/html"),
        (answer(b"{}", 404, **JSON), "status 404"),
        (answer(b"{}", 503, **JSON), "status 503"),
    ],
)
def test_catalogue_that_does_not(sent, said, small_area, monkeypatch):
    """A front page in place of the catalogue would read as well."""
    with serving(sent) as server:
        monkeypatch.setenv("BDC_BASE_URL", server.url)
        row = rows_of(catalogue_area("bdc"))["catalogue"]
    assert row.state == "failed" and said in row.found and row.remedy


def test_accounts_of_inpe(small_area, monkeypatch, capsys):
    """The e-mail address would be asked for by the first file, after the search."""
    monkeypatch.setenv("INPE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("BDC_BASE_URL", "http://127.0.0.1:9")
    row = rows_of(catalogue_area("dgi"))["account"]
    assert row.state == "missing" and "export INPE_EMAIL=" in row.remedy
    monkeypatch.setenv("INPE_EMAIL", "somebody")
    assert rows_of(catalogue_area("dgi"))["account"].state == "failed"
    monkeypatch.setenv("INPE_EMAIL", "somebody@example.org")
    path = catalogue_area("dgi")
    row = rows_of(path)["account"]
    assert row.state == "ok" and "first download" in row.found
    assert "somebody" not in told(examine(path), path)
    assert rows_of(catalogue_area("bdc"))["account"].state == "not needed"
    monkeypatch.setenv("BDC_ACCESS_TOKEN", SECRET)
    path = catalogue_area("bdc")
    assert rows_of(path)["account"].state == "ok" and SECRET not in told(examine(path), path)


# -------------------------------------------------------------------------- labels and weights
def by_address(url, **more):
    labels = {"url": f"{url}/labels.tif?key={SECRET}", **more}
    return changed(labels=labels)


def test_labels_at_their_address(small_area):
    """Gigabytes would be fetched to find out that they are others."""
    part = answer(b"x", 206, Content_Range="bytes 0-0/1786008665", Content_Type="image/tiff")
    with serving(part) as server:
        row = rows_of(by_address(server.url, size=1_786_008_665))["labels"]
        assert row.state == "ok" and "1.8 GB" in row.found
        row = rows_of(by_address(server.url, size=5))["labels"]
        assert row.state == "failed" and "1786008665 bytes" in row.found and "size" in row.remedy
    with serving(answer(b"x" * 1000, Content_Type="image/tiff")) as server:  # knows no ranges
        assert "1.0 kB" in rows_of(by_address(server.url))["labels"].found


@pytest.mark.parametrize(
    "sent", [answer(b"<html>", Content_Type="text/html"), answer(b"", 404), answer(b"", 403)]
)
def test_labels_that_are_not_there(sent, small_area):
    """A page that asks to log in would read as the labels; addresses may hold a key."""
    with serving(sent) as server:
        path = by_address(server.url)
        rows = examine(path)
    assert {row.what: row for row in rows}["labels"].state == "failed"
    assert SECRET not in told(rows, path)


def test_labels_that_were_fetched_are_not_asked_for(small_area):
    """Nobody could look at a finished area without a network."""
    path = by_address("http://127.0.0.1:9")
    link = Path("results/changed/download/labels.tif")
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("data/labels.tif").resolve())
    assert rows_of(path)["labels"].state == "ok"


def test_catalogue_that_was_not_searched_needs_an_unknown_room(small_area, monkeypatch):
    """`0 kB needed` would be believed."""
    monkeypatch.setenv("BDC_BASE_URL", "http://127.0.0.1:9")
    assert "files of unknown size" in rows_of(catalogue_area("bdc"))["disk: resources/"].found


# ------------------------------------------------------------------------------------ machine
Usage = namedtuple("Usage", "total used free")


def test_full_disk_is_told_before_the_map_is_begun(small_area, monkeypatch):
    """Forty gigabytes later there would be no room for the map."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    rows = rows_of(small_area)
    assert rows["disk: results/"].state == "failed" and "make room" in rows["disk: results/"].remedy


def test_what_is_there_needs_no_room_again(small_area, monkeypatch):
    """An area that is nearly done would be refused."""
    kept = Path("results/small/compose/big.tif")
    kept.parent.mkdir(parents=True)
    with kept.open("wb") as file:
        file.truncate(10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    rows = rows_of(small_area)
    assert rows["disk: results/"].state == "ok" and "0 kB needed" in rows["disk: results/"].found


def test_too_little_memory_is_told(small_area, monkeypatch, tmp_path):
    """The first job would be killed without a word, as in a small container."""
    limit = tmp_path / "memory.max"
    limit.write_text("500000000\n")
    monkeypatch.setattr(machine, "LIMIT", limit)
    row = rows_of(small_area)["memory"]
    assert row.state == "failed" and "0.5 GB" in row.found and "grid.block" in row.remedy
    limit.write_text("max\n")
    assert rows_of(small_area)["memory"].state == "ok"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_named_has_to_be_there(small_area):
    """Training would end before its first step, hours after it was asked for."""
    assert "on the CPU" in rows_of(small_area)["GPU"].found
    path = changed(train={"device": "cuda", "width": 4, "depth": 2, "steps": 20})
    row = rows_of(path)["GPU"]
    assert row.state == "failed" and "auto or cpu" in row.remedy


def test_missing_format_is_told(small_area, monkeypatch):
    """A GDAL without JPEG 2000 would call good scenes broken."""
    import mapmill.raster.formats as formats

    monkeypatch.setattr(formats, "gdal", lambda: ("3.9", {"GTiff", "COG", "VRT"}))
    assert rows_of(small_area)["GDAL"].state == "ok"
    periods = {"2018-04": {"files": "data/{scene}_{band}.jp2"}}
    row = rows_of(changed(search={"source": "files", "periods": periods}))["GDAL"]
    assert row.state == "failed" and "without JP2OpenJPEG" in row.found


def test_broken_library_is_a_line(small_area, monkeypatch):
    """The one command that should help would end in a traceback."""

    def broken(_):
        raise ImportError("libtorch.so: no such file")

    monkeypatch.setattr(doctor, "gpu", broken)
    row = rows_of(small_area)["GPU"]
    assert row.state == "failed" and "libtorch.so" in row.found and "make env" in row.remedy


def test_snakemake_beside_but_not_on_the_path(small_area, monkeypatch):
    """`command not found` would come after `Nothing is missing`."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    row = rows_of(small_area)["Snakemake"]
    assert row.state == "missing" and row.remedy == f"export PATH={BIN}:$PATH"


def test_least_snakemake_is_that_of_the_package():
    """An old Snakemake would be called right."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    least = ".".join(map(str, machine.SNAKEMAKE))
    assert any(each.startswith(f"snakemake>={least}") for each in project["dependencies"])


def test_chips_are_looked_at_too(tmp_path, monkeypatch):
    """An area without a grid would end in a traceback."""
    monkeypatch.chdir(tmp_path)
    code_YX, image_BYX = simulated_chip(64, 64)
    write_chip("data/image/a.tif", image_BYX)
    write_chip("data/mask/a.tif", code_YX)
    rows = rows_of(chip_area("chips"))
    assert rows["chips"].state == "ok" and "masks" in rows["chips"].found
    assert {rows[what].state for what in ("disk", "PROJ", "labels", "account")} == {"not needed"}
