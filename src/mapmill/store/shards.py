"""Chunks and shards as bytes, by the Zarr v3 specification; nothing of the zarr library.

A chunk is one patch: its values in row-major order and little-endian, compressed by Blosc or as
they are. In a shard each chunk is followed by the crc32c of its bytes; the shard ends with an
index, offset and length of each chunk as little-endian uint64, and the crc32c of that index.
Chunks may lie in a shard in any order. (Specification of `sharding_indexed`, `crc32c`, `blosc`.)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
CRC_BYTES = 4
MISSING = np.uint64(2**64 - 1)
"""Offset and length of a chunk that was never written: all of it is 0."""
LEVEL = {"lz4": 5, "zstd": 3}
"""Blosc's level: of lz4 a higher one gains nothing on imagery, of zstd it costs much time."""
MOST_BYTES = 2**31 - 1 - 16
"""The largest patch that Blosc takes."""


class DamagedError(ValueError):
    """Bytes that are not what was written."""


@dataclass(frozen=True)
class Chunks:
    """How the patches of one array become bytes."""

    compressor: str
    """lz4, zstd or none."""
    shuffle: str
    """bitshuffle, or noshuffle for bytes."""

    @classmethod
    def of(cls, compressor: str, dtype: str) -> "Chunks":
        """What suits a dtype: there is nothing to gain from shuffling bytes."""
        return cls(compressor, "noshuffle" if np.dtype(dtype).itemsize == 1 else "bitshuffle")

    def encode(self, patch: Array) -> bytes:
        """The bytes of an array."""
        patch = np.ascontiguousarray(patch)
        if self.compressor == "none":
            return patch.tobytes()
        shuffle = blosc.BITSHUFFLE if self.shuffle == "bitshuffle" else blosc.NOSHUFFLE
        name = self.compressor.encode()
        content: bytes = blosc.compress(patch, name, LEVEL[self.compressor], shuffle)
        return content

    def decode_into(self, content: Bytes, patch: Array) -> None:
        """Fill a contiguous array from its bytes.

        Raises
        ------
        DamagedError
            if they are of another length, or Blosc refuses them.
        """
        if self.compressor == "none":
            if content.nbytes != patch.nbytes:
                raise DamagedError(f"{content.nbytes} bytes instead of {patch.nbytes}")
            patch.reshape(-1).view(np.uint8)[:] = content
            return
        # Blosc's header: the array's length at byte 4, its own at byte 12
        lengths = content[4:16].view("<u4") if content.nbytes >= 16 else np.zeros(3, np.uint32)
        if (int(lengths[0]), int(lengths[2])) != (patch.nbytes, content.nbytes):
            raise DamagedError("no Blosc chunk of its length")
        try:
            blosc.decompress(content, patch)
        except (RuntimeError, ValueError) as error:
            raise DamagedError(str(error)) from None


def crc32c(content: Bytes | bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes."""
    return int(google_crc32c.value(content))


def with_crc(content: bytes) -> bytes:
    """Bytes and then their crc32c, little-endian."""
    return content + crc32c(content).to_bytes(CRC_BYTES, "little")


def without_crc(content: Bytes) -> Bytes:
    """Bytes before their crc32c.

    Raises
    ------
    DamagedError
        if it is not theirs.
    """
    body, end = content[:-CRC_BYTES], content[-CRC_BYTES:]
    if end.nbytes != CRC_BYTES or int.from_bytes(end.tobytes(), "little") != crc32c(body):
        raise DamagedError("a checksum that does not agree")
    return body


def index_bytes(places: Sequence[tuple[int, int]], count: int) -> bytes:
    """The index of a shard of `count` chunks, of which only the first were written."""
    index = np.full((count, 2), MISSING, "<u8")
    index[: len(places)] = places
    return with_crc(index.tobytes())


def read_index(descriptor: int, count: int) -> NDArray[np.uint64]:
    """The index at the end of an opened shard: (chunk, 2), offset and length.

    Raises
    ------
    DamagedError
        if the file is too short, its checksum does not agree, or it points outside the file.
    """
    size, length = os.fstat(descriptor).st_size, count * 16 + CRC_BYTES
    if size < length:
        raise DamagedError(f"{size} bytes, too few for an index")
    content = np.empty(length, np.uint8)
    read_at(descriptor, content, size - length)
    index: NDArray[np.uint64] = without_crc(content).view("<u8").reshape(count, 2)
    there = index[index[:, 0] != MISSING]
    if (there > size).any() or (there.sum(axis=1) > size - length).any():
        raise DamagedError("an index that points outside the file")
    return index


def read_at(descriptor: int, content: Bytes, offset: int) -> None:
    """Fill `content` from a place in an opened file; other threads may read in it too.

    Raises
    ------
    DamagedError
        if the file ends before.
    """
    view: Any = content
    done = 0
    while done < content.nbytes:
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise DamagedError("a file that ends too early")
        done += count


def chunk_file(folder: Path, number: int, axes: int) -> Path:
    """File of a shard, or of a chunk where there are no shards: `c/7/0/0`."""
    return folder.joinpath("c", str(number), *["0"] * (axes - 1))
