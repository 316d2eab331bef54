"""Batches of patches, decoded by threads straight into one array."""

import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapmill.errors import ContractError
from mapmill.store.shards import (
    MISSING,
    Bytes,
    Chunks,
    DamagedError,
    chunk_file,
    crc32c,
    read_at,
    read_index,
    without_crc,
)

Array = NDArray[Any]
REMEDY = "rerun pack"
OPEN_FILES = 256
"""Shards of one array that are kept open; those beyond are opened for each patch."""


@dataclass(frozen=True)
class _Shard:
    """A file of chunks whose index has been read."""

    path: Path
    descriptor: int | None
    """None: open it when it is read."""
    index: NDArray[np.uint64]
    """(chunk, 2): offset and length."""


class PatchReader:
    """One array of a store, read by the numbers of patches.

    It is indexed like a numpy array, by `take` or by one number, and holds none of it.

    Parameters
    ----------
    threads : that decode; zarr, when it is asked, has its own
    """

    def __init__(
        self,
        where: Path,
        array: Any,
        checksums: NDArray[np.uint32] | None,
        threads: ThreadPoolExecutor,
        count: int,
    ) -> None:
        self.folder = where / array.basename
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self._chunks, self._shard = _layout(self.folder, array)
        if self._shard == 1 and checksums is None:
            raise ContractError(self.folder, "no checksums", "a patch store", REMEDY)
        self._checksums, self._threads, self._count = checksums, threads, count
        self._shards: dict[int, _Shard] = {}
        self._lock, self._own = threading.Lock(), threading.local()
        self._open: list[int] = []
        self.close = weakref.finalize(self, _close_all, self._open)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, number: int) -> Array:
        patch: Array = self.take([number])[0]
        return patch

    def take(self, numbers: ArrayLike, axis: int = 0, out: Array | None = None) -> Array:
        """Patches by their numbers, in the order of the numbers.

        Parameters
        ----------
        axis : 0, as numpy's `take` would have it
        out : array of the result, to be filled instead of a new one

        Raises
        ------
        ContractError
            naming the array and the patch, if its bytes are not those that were written.
        """
        if axis != 0:
            raise ValueError("patches are taken along axis 0")
        wanted = np.asarray(numbers, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"{self.folder} has {len(self)} patches")
        shape = (len(wanted), *self.shape[1:])
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is no contiguous array of {shape} {self.dtype}")
        places = iter(range(len(wanted)))  # shared: each thread takes the next one that is free
        jobs = [
            self._threads.submit(self._fill, places, wanted, out)
            for _ in range(min(self._count, len(wanted)))
        ]
        wait(jobs)  # all have stopped writing before an error is told
        for job in jobs:
            job.result()
        return out

    def _fill(self, places: Iterator[int], wanted: NDArray[np.int64], out: Array) -> None:
        for place in places:
            number = int(wanted[place])
            try:
                self._read(number, out[place])
            except (DamagedError, OSError) as error:
                found = f"patch {number} damaged ({error})"
                raise ContractError(self.folder, found, "the bytes that were written", REMEDY)  # noqa: B904

    def _read(self, number: int, patch: Array) -> None:
        place, within = divmod(number, self._shard)
        shard = self._shards.get(place) or self._opened(place)
        offset, length = shard.index[within]
        if offset == MISSING:
            patch[...] = 0
            return
        content = self._scratch(int(length))
        if shard.descriptor is not None:
            read_at(shard.descriptor, content, int(offset))
        else:
            with shard.path.open("rb", buffering=0) as file:
                read_at(file.fileno(), content, int(offset))
        if self._checksums is None:
            content = without_crc(content)
        elif crc32c(content) != int(self._checksums[number]):
            raise DamagedError("a checksum that does not agree")
        self._chunks.decode_into(content, patch)

    def _scratch(self, length: int) -> Bytes:
        """Memory of this thread, for compressed bytes: a fresh page costs more than reading it."""
        kept: Bytes | None = getattr(self._own, "kept", None)
        if kept is None or len(kept) < length:
            self._own.kept = kept = np.empty(length + length // 4, np.uint8)
        return kept[:length]

    def _opened(self, place: int) -> _Shard:
        path = chunk_file(self.folder, place, len(self.shape))
        with self._lock:
            if place in self._shards:
                return self._shards[place]
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if self._checksums is None:
                    index = read_index(descriptor, self._shard)
                else:
                    index = np.array([[0, os.fstat(descriptor).st_size]], np.uint64)
            except BaseException:
                os.close(descriptor)
                raise
            is_kept = self._checksums is None and len(self._open) < OPEN_FILES
            if is_kept:
                self._open.append(descriptor)
            else:
                os.close(descriptor)
            shard = _Shard(path, descriptor if is_kept else None, index)
            self._shards[place] = shard
            return shard

    def check_index(self) -> None:
        """Read the index of every shard.

        Raises
        ------
        ContractError
            if one cannot be read, or lacks a patch.
        """
        for number in range(len(self)):
            place, within = divmod(number, self._shard)
            try:
                shard = self._shards.get(place) or self._opened(place)
            except (DamagedError, OSError) as error:
                raise ContractError(self.folder, str(error), "a whole store", REMEDY) from None
            if shard.index[within, 0] == MISSING:
                raise ContractError(self.folder, f"no patch {number}", "a whole store", REMEDY)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _layout(folder: Path, array: Any) -> tuple[Chunks, int]:
    """How an array's chunks become bytes, and how many are in a file; as our writer makes them.

    Raises
    ------
    ContractError
        if it was made in another way.
    """
    codecs = array.metadata.to_dict()["codecs"]
    names = [codec["name"] for codec in codecs]
    shard, end = 1, []
    if names == ["sharding_indexed"]:
        shard, end = int(array.shards[0]), ["crc32c"]
        within = codecs[0]["configuration"]
        index = [codec["name"] for codec in within["index_codecs"]]
        known = within["index_location"] == "end" and index == ["bytes", "crc32c"]
        codecs = within["codecs"] if known else []
        names = [codec["name"] for codec in codecs]
    if array.chunks != (1, *array.shape[1:]) or names not in (
        ["bytes", "blosc", *end],
        ["bytes", *end],
    ):
        raise ContractError(folder, f"codecs {', '.join(names)}", "those of pack", REMEDY)
    if "blosc" not in names:
        return Chunks.of("none", array.dtype), shard
    chosen = codecs[1]["configuration"]
    return Chunks(chosen["cname"], chosen["shuffle"]), shard
