"""What the tables of docs/downloads.md do not show: waits, bytes that are damaged in any way, and
what others on the machine can see of a download."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults.catalogue_cells import SOURCES, Case, opened
from servers.blobs import Blob

from mapmill.catalogue import http

WAIT_S = 30.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Scenes of each source."""
    folder = tmp_path_factory.mktemp("scenes")
    return {name: [source.scenes(folder)] for name, source in SOURCES.items()}


@pytest.fixture(params=SOURCES)
def cell(request, made, tmp_path, monkeypatch, capsys, caplog):
    """A catalogue, its account in the environment; a clean folder."""
    source = SOURCES[request.param]
    caplog.set_level("DEBUG")
    with opened(source, Case("any"), made[source.name], tmp_path, monkeypatch, capsys,
                caplog) as cell:  # fmt: skip
        yield cell


def shown_of(folder="/proc"):
    """What each process shows of how it was called."""
    for path in Path(folder).glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:  # it has ended
            continue


@pytest.mark.parametrize("read", ["whole", "window"])
def test_the_list_of_processes(cell, read, tmp_path):
    """Everybody on the machine would see the token, the e-mail or the signature."""
    area = cell.source.area(read)
    assert cell.search(area) == ""
    cell.server.fault("stall", seconds=WAIT_S)
    program = "import sys; from mapmill.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "download", area, cell.wanted(), "out/file.tif"]
    said = Path("said.txt")
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
    try:
        until = time.monotonic() + WAIT_S
        while not cell.server.count("asset") and time.monotonic() < until:
            assert process.poll() is None, said.read_text()
            time.sleep(0.05)
        assert cell.server.count("asset") == 1
        found = list(shown_of())
        assert any(b"download" in line and b"cells.yaml" in line for line in found)
        for secret in cell.secrets():
            assert not [line for line in found if secret.encode() in line]
    finally:
        process.kill()
        process.wait()
    cell.check_secrets()
    cell.server.clear()
    assert cell.download(area) == ""
    cell.check_pixels()


def test_waits_are_those_that_the_server_asks_for(cell, monkeypatch):
    """A server that is busy would be asked five times within a second."""
    monkeypatch.setattr(http, "BACKOFF_S", 0.001)
    area = cell.source.area()
    for value in (7, "1.5", "date"):
        cell.server.fault("429", path="search", retry_after=value)
        cell.server.fault("429", path="asset", retry_after=value)
    assert cell.search(area) == "" and cell.download(area) == ""
    for first, second, third in (cell.waits[:3], cell.waits[3:]):
        assert (first, second) == (7, 1.5) and 0.5 < third <= 2


@pytest.mark.parametrize("read", ["whole", "window"])
def test_damaged_bytes_are_never_a_page_of_python(cell, monkeypatch, read):
    """A file that is damaged in a way that nobody has thought of would end in a traceback, or its
    pixels be taken for right ones where the catalogue tells a digest."""
    monkeypatch.setattr(http, "DAMAGED", 1)
    area, random, found = cell.source.area(read), np.random.default_rng(3), set()
    path = next(p for p in cell.server.blobs if p.endswith(f"{cell.source.bands[0]}.tif"))
    whole = cell.server.blobs[path].content
    assert cell.search(area) == ""
    for _ in range(25):
        spoilt = bytearray(whole)
        for at in random.integers(0, 500, random.integers(1, 9)):
            spoilt[at] = random.integers(256)
        cell.server.blobs[path] = Blob(bytes(spoilt))
        line = cell.download(area)
        found.add(line)
        if line:
            cell.check_nothing_left(["config/areas/cells.yaml", str(cell.source.listing)])
        else:
            assert read == "window" or cell.source.name == "dgi", "the others tell a digest"
            shutil.rmtree("resources")
            shutil.rmtree("out")
    cell.check_secrets()
    assert len(found) > 1 or (read, cell.source.name) == ("whole", "bdc")
