"""A finished store, opened for reading: what it holds, and the readers of its arrays."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from mapmill.errors import ContractError
from mapmill.store.batches import REMEDY, PatchReader
from mapmill.store.shards import crc32c

Array = NDArray[Any]
NO_STORE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
ATTRIBUTES_CRC = "attributes_crc32c"
"""Attribute that holds the checksum of the others: Zarr has none for its metadata."""


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
        if self.attributes.pop(ATTRIBUTES_CRC, None) != crc_of(self.attributes):
            raise ContractError(where, "damaged attributes", "what was written", REMEDY)
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


def crc_of(attributes: dict[str, Any]) -> int:
    """crc32c of attributes, written as JSON with sorted keys."""
    return crc32c(json.dumps(attributes, sort_keys=True).encode())


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
    except NO_STORE as error:
        raise ContractError(folder / group, str(error), "a Zarr store", REMEDY) from None
