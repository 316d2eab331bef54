"""The reader of patch stores: batches decoded by threads straight into one array."""

import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
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


class PatchStore:
    """The patches of one size in a finished store, opened for reading.

    Parameters
    ----------
    group : the root by default; see `group_name`
    threads : that decode patches

    Raises
    ------
    ContractError
        if there is no such store, or it is not as pack makes them.
    """

    def __init__(self, folder: Path, group: str = "", threads: int = 1) -> None:
        self.folder = folder
        self._group = _opened(folder, group)
        where = folder / group
        if {"image", "label", "split", "row", "col"} - set(self._group.array_keys()):
            raise ContractError(where, "arrays missing", "a patch store", REMEDY)
        self.attributes: dict[str, Any] = dict(self._group.attrs)
        """What was kept with the store: bands, classes, nodata, statistics ..."""
        self._threads = ThreadPoolExecutor(threads, "patches")
        names = [n for n in ("image", "label", "fraction") if n in self._group]
        kept = self.column("crc32c") if "crc32c" in self._group else None
        readers = [
            PatchReader(
                where,
                self._group[name],
                kept[:, number] if kept is not None else None,
                self._threads,
                threads,
            )
            for number, name in enumerate(names)
        ]
        if len({len(reader) for reader in readers}) > 1:
            raise ContractError(where, "unequal arrays", "a patch store", REMEDY)
        self.images, self.labels = readers[:2]
        """(patch, band, y, x) and (patch, y, x) uint8."""
        self.fractions = readers[2] if len(readers) > 2 else None
        """(patch, y, x) uint8, per cent; None where they were not asked for."""
        self._readers = readers

    def column(self, name: str) -> Array:
        """One value or row of values of each patch: split, fold, piece, row, col, counts.

        Raises
        ------
        ContractError
            if its bytes are not those that were written.
        """
        try:
            return np.asarray(self._group[name][...])  # type: ignore[index]
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            found = f"{name} damaged ({error})"
            raise ContractError(self.folder, found, "what was written", REMEDY) from None

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the patches of a split."""
        number = self.attributes["splits"].index(split)
        return np.flatnonzero(self.column("split") == number)

    def check_indices(self) -> None:
        """Read the index of every file; see `PatchReader.check_index`."""
        for reader in self._readers:
            reader.check_index()

    def close(self) -> None:
        """Let go of files and threads."""
        self._threads.shutdown()
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> "PatchStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def store_of(folder: Path, size: int | None = None, threads: int = 1) -> PatchStore:
    """The patches of a size; by default those of the root group.

    Raises
    ------
    ContractError
        if the store has none of that size.
    """
    store = PatchStore(folder, threads=threads)
    if size is None or size == store.labels.shape[1]:
        return store
    store.close()
    return PatchStore(folder, f"size-{size}", threads)


def _opened(folder: Path, group: str) -> zarr.Group:
    try:
        return zarr.open_group(folder, path=group, mode="r")
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ContractError(folder / group, str(error), "a Zarr store", REMEDY) from None
