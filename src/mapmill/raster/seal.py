"""Sixteen bytes behind a GeoTIFF of ours, by which damage to any byte of it is noticed.

TIFF's compressors have no checksum (ZSTD as libtiff calls it), and a page of zeros in the midst
of a tile reads as other pixels. What follows the last tile is read by no program.
"""

import functools
from pathlib import Path

import google_crc32c

from mapmill.errors import ContractError

MARK = b"mapmill "
SIZE = len(MARK) + 8
"""Of a seal: the mark, and the bytes' crc32c in hexadecimal digits."""
CHUNK = 2**20
STAGE = "MAPMILL_STAGE"
"""Tag of the files that get a seal."""
COMPRESS = "ZSTD"
"""How their pixels are compressed."""


def seal(path: Path) -> None:
    """Append the seal to a finished file."""
    text = _crc32c(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(MARK + text)


def check_seal(path: Path) -> bool:
    """Whether a file has a seal; each version of a file is read once.

    Raises
    ------
    ContractError
        if it is not the seal of the bytes before it.
    """
    found = path.stat()
    return _is_sealed(path, found.st_ino, found.st_mtime_ns, found.st_size)


def check_end(path: Path, compressor: str) -> None:
    """A block as the stages write them has a seal, or has lost its end.

    What it says of itself may be lost with it, but not how its pixels are compressed.

    Raises
    ------
    ContractError
        if it has none.
    """
    if compressor == COMPRESS and not check_seal(path):
        raise _damaged(path)


@functools.lru_cache(4096)
def _is_sealed(path: Path, inode: int, time_ns: int, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, size - SIZE))
        end = file.read(SIZE)
    if not end.startswith(MARK):
        return False
    if end != MARK + _crc32c(path, size - SIZE):
        raise _damaged(path)
    return True


def _crc32c(path: Path, size: int) -> bytes:
    """crc32c of the first bytes of a file, in hexadecimal digits."""
    found = 0
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            found, size = google_crc32c.extend(found, chunk), size - len(chunk)
    return f"{found:08x}".encode()


def _damaged(path: Path) -> ContractError:
    found = "damaged bytes, not those that were written"
    return ContractError(path, found, "a whole file", "delete it and rerun")
