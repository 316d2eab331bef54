"""The patch store: the only module that opens zarr.

A Zarr v3 group with one patch a chunk and several chunks a shard. Each chunk carries a
crc32c, so that a flipped bit is an error and never a wrong pixel.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from mapmill.atomic import replace_folder
from mapmill.errors import ContractError
from mapmill.tiles import Tile

Array = NDArray[Any]
Patch = tuple[Array, Array]
"""image (band, y, x) and label (y, x)."""


def write_store(
    folder: Path,
    tiles: Sequence[Tile],
    patches: Iterable[Patch],
    *,
    bands: Sequence[str],
    dtype: str,
    shard: int,
    attributes: dict[str, Any],
) -> None:
    """Build a store aside, check it, and put it in the place of `folder`.

    Parameters
    ----------
    patches : one for each tile, in order
    attributes : JSON values kept with the store
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    group = zarr.create_group(part, attributes=attributes)
    count, size = len(tiles), tiles[0].window.height
    image = _create(group, "image", (count, len(bands), size, size), dtype, shard, "patch band y x")
    label = _create(group, "label", (count, size, size), "uint8", shard, "patch y x")
    _create_index(group, tiles, attributes)
    buffer: list[Patch] = []
    start = 0
    for patch in patches:
        buffer.append(patch)
        if len(buffer) == shard or start + len(buffer) == count:
            stop = start + len(buffer)
            image[start:stop] = np.stack([each[0] for each in buffer])
            label[start:stop] = np.stack([each[1] for each in buffer])
            start, buffer = stop, []
    if start != count:
        raise ContractError(folder, f"{start} patches", f"{count}", "rerun pack")
    PatchStore(part)
    replace_folder(part, folder)


def _create(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, shard: int, axes: str
) -> Any:
    shuffle: Literal["bitshuffle", "noshuffle"] = "noshuffle" if dtype == "uint8" else "bitshuffle"
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(1, *shape[1:]),
        shards=(min(shard, shape[0]), *shape[1:]),
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle=shuffle), Crc32cCodec()],
        dimension_names=axes.split(),
    )


def _create_index(group: zarr.Group, tiles: Sequence[Tile], attributes: dict[str, Any]) -> None:
    """Where each patch comes from: row, col, and numbers of its split, piece and fold."""
    number = {name: index for index, name in enumerate(attributes["pieces"])}
    columns: dict[str, list[int]] = {
        "row": [tile.window.row for tile in tiles],
        "col": [tile.window.col for tile in tiles],
        "split": [attributes["splits"].index(tile.split) for tile in tiles],
        "piece": [number[tile.piece] for tile in tiles],
        "fold": [-1 if tile.fold is None else tile.fold for tile in tiles],
    }
    for name, values in columns.items():
        array = group.create_array(
            name,
            shape=(len(values),),
            dtype="int32",
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
            dimension_names=["patch"],
        )
        array[:] = np.array(values, np.int32)


@dataclass(frozen=True)
class PatchStore:
    """A finished store, opened for reading."""

    folder: Path

    def __post_init__(self) -> None:
        group = self._group
        if {"image", "label", "split", "row", "col"} - set(group.array_keys()):
            raise ContractError(self.folder, "arrays missing", "a patch store", "rerun pack")
        if group["image"].shape[0] != group["label"].shape[0]:  # type: ignore[union-attr]
            raise ContractError(self.folder, "unequal arrays", "a patch store", "rerun pack")

    @property
    def _group(self) -> zarr.Group:
        try:
            return zarr.open_group(self.folder, mode="r")
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise ContractError(self.folder, str(error), "a Zarr store", "rerun pack") from None

    @property
    def attributes(self) -> dict[str, Any]:
        """What was kept with the store: bands, classes, nodata, statistics ..."""
        return dict(self._group.attrs)

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the patches of a split."""
        number = self.attributes["splits"].index(split)
        return np.flatnonzero(np.asarray(self._group["split"][:]) == number)  # type: ignore[index]

    def column(self, name: str) -> Array:
        """One value of each patch: split, fold, piece, row, col."""
        return np.asarray(self._group[name][:])  # type: ignore[index]

    def arrays(self) -> tuple[Any, Any]:
        """image (patch, band, y, x) and label (patch, y, x), read when they are indexed.

        Raises ValueError on reading a chunk whose checksum does not agree.
        """
        group = self._group
        return group["image"], group["label"]
