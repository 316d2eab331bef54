"""Files that are no files, texts that are no texts."""

import os
from pathlib import Path

import pytest

from mapmill.regular import MOST_TEXT, read_json, read_lines, read_text, regular


def test_what_is_no_file(tmp_path):
    """A pipe would be waited for, and a device be read, without an end."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, said in (
        (tmp_path / "folder", "a folder where"),
        (tmp_path / "pipe", "a pipe where"),
        (Path("/dev/zero"), "a device where"),
        (tmp_path / "loop", "symbolic links"),
    ):
        for read in (regular, read_text, read_json, read_lines):
            with pytest.raises(OSError, match=said):
                read(path)
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "none")


def test_links_to_files_are_files(tmp_path):
    """Users keep large files elsewhere, behind links."""
    (tmp_path / "file").write_text("é", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    assert regular(tmp_path / "link") == tmp_path / "link" and read_text(tmp_path / "link") == "é"


def test_texts_without_end(tmp_path):
    """A file of terabytes of nothing would fill the memory."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, MOST_TEXT + 1)
    with pytest.raises(OSError, match="at most"):
        read_text(path)
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match="nested too deep"):
        read_json(path)
    path.write_bytes(b"\xef\xbb\xbfcode,class\r\n1,2\r\n")
    assert read_lines(path).read() == "code,class\n1,2\n"
