"""The one writer of patch stores: patches in any order, each once, in groups by their size."""

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCname, BloscCodec, BloscShuffle, Crc32cCodec
from zarr.errors import ZarrUserWarning

from mapmill.atomic import flush, replace_folder, spare, write_json
from mapmill.errors import ContractError
from mapmill.store.reading import ATTRIBUTES_CRC, PatchStore, crc_of
from mapmill.store.shards import LEVEL, Chunks, chunk_file, crc32c, index_bytes, with_crc
from mapmill.tiles import Tile

ARRAYS = ("image", "label", "fraction")
"""Arrays of pixels; the last one only where it is configured."""


@dataclass(frozen=True)
class Form:
    """What all patches of a store are like."""

    bands: Sequence[str]
    dtype: str
    """Of the image: uint16 or float32."""
    classes: int
    pieces: Sequence[str]
    """Names of what tiles are cut from."""
    splits: Sequence[str]
    shard: int
    """Patches in one file."""
    codec: str
    """lz4, zstd or none."""
    has_fraction: bool = False

    def chunks(self) -> dict[str, Chunks]:
        """How each array's patches become bytes."""
        dtypes = {"image": self.dtype, "label": "uint8", "fraction": "uint8"}
        names = ARRAYS if self.has_fraction else ARRAYS[:2]
        return {name: Chunks.of(self.codec, dtypes[name]) for name in names}


def group_name(size: int, main: int) -> str:
    """Group of the patches of a size: the root for the main one, `size-{n}` for others."""
    return "" if size == main else f"size-{size}"


class StoreWriter:
    """A store that is built aside and takes the place of `folder` when it is finished.

    As a context it takes away what is not finished, and says so where the disk is full.

    Parameters
    ----------
    tiles : by size in pixels, each patch's tile, in the order of the patches
    main : the size whose patches are the root group's
    """

    def __init__(
        self, folder: Path, form: Form, tiles: Mapping[int, Sequence[Tile]], main: int
    ) -> None:
        self._folder, self._main = folder, main
        folder.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._part = stack.enter_context(spare(folder))
            root = zarr.create_group(self._part)
            self._groups = {
                size: _Group(root, self._part, group_name(size, main), form, own, size)
                for size, own in sorted(tiles.items(), key=lambda each: each[0] != main)
            }
            self._aside = stack.pop_all()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._aside.__exit__(kind, error, trace)

    def put(self, size: int, number: int, contents: Mapping[str, bytes]) -> None:
        """Write a patch by its number among those of its size: encoded bytes by array."""
        for name, content in contents.items():
            self._groups[size].arrays[name].put(number, content)

    def finish(self, attributes: Mapping[int, dict[str, Any]]) -> None:
        """Write the attributes of each size's group, check all, and replace `folder`.

        Raises
        ------
        ContractError
            if a patch was not written.
        """
        for size, group in self._groups.items():
            group.finish(attributes[size])
        with warnings.catch_warnings():  # xarray and zarr agree on it; the specification waits
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(self._part)
        for file in sorted(self._part.rglob("zarr.json")):  # in one order, however it was made
            write_json(file, json.loads(file.read_text(encoding="utf-8")))
        for size in self._groups:
            with PatchStore(self._part, group_name(size, self._main)) as store:
                store.check_indices()
        for file in self._part.rglob("*"):
            if file.is_file():
                flush(file)
        replace_folder(self._part, self._folder)


class _Group:
    """Patches of one size."""

    def __init__(
        self,
        root: zarr.Group,
        folder: Path,
        name: str,
        form: Form,
        tiles: Sequence[Tile],
        size: int,
    ) -> None:
        self._zarr = root.create_group(name) if name else root
        self._count, self._where = len(tiles), folder / name
        # xarray's trees want one length for one name of an axis
        suffix = f"_{size}" if name else ""
        self._patch = f"patch{suffix}"
        space = [f"y{suffix}", f"x{suffix}"]
        shapes = {"image": (len(form.bands), size, size)}
        self.arrays: dict[str, _ArrayWriter] = {}
        for array, chunks in form.chunks().items():
            shape = (self._count, *shapes.get(array, (size, size)))
            axes = [self._patch, *(["band"] if array == "image" else []), *space]
            dtype = form.dtype if array == "image" else "uint8"
            _create(self._zarr, array, shape, dtype, form.shard, chunks, axes)
            self.arrays[array] = _ArrayWriter(self._where / array, chunks, shape, form.shard)
        self._columns(tiles, form)

    def _columns(self, tiles: Sequence[Tile], form: Form) -> None:
        """Where each patch comes from, and the classes in it."""
        number = {name: index for index, name in enumerate(form.pieces)}
        columns: dict[str, list[int]] = {
            "row": [tile.window.row for tile in tiles],
            "col": [tile.window.col for tile in tiles],
            "split": [form.splits.index(tile.split) for tile in tiles],
            "piece": [number[tile.piece] for tile in tiles],
            "fold": [-1 if tile.fold is None else tile.fold for tile in tiles],
        }
        for name, values in columns.items():
            self._table(name, np.array(values, np.int32), [self._patch])
        counts = np.array([tile.counts for tile in tiles], np.int32)
        self._table("counts", counts.reshape(self._count, form.classes), [self._patch, "class"])

    def _table(self, name: str, values: NDArray[Any], axes: list[str]) -> None:
        array = self._zarr.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=tuple(max(side, 1) for side in values.shape),
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
            dimension_names=axes,
        )
        array[:] = values

    def finish(self, attributes: dict[str, Any]) -> None:
        for name, array in self.arrays.items():
            if array.left:
                found = f"{self._count - array.left} patches in {name}"
                raise ContractError(self._where, found, f"{self._count}", "rerun pack")
        if any(array.checksums is not None for array in self.arrays.values()):
            columns = [array.checksums or [] for array in self.arrays.values()]
            self._table("crc32c", np.array(columns, np.uint32).T, [self._patch, "array"])
        self._zarr.update_attributes(attributes | {ATTRIBUTES_CRC: crc_of(attributes)})


def _create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    shard: int,
    chunks: Chunks,
    axes: list[str],
) -> None:
    """The array's metadata; its chunks are ours to write."""
    codecs: list[Any] = []
    if chunks.compressor != "none":
        level, shuffle = LEVEL[chunks.compressor], BloscShuffle(chunks.shuffle)
        codecs.append(
            BloscCodec(cname=BloscCname(chunks.compressor), clevel=level, shuffle=shuffle)
        )
    is_sharded = shard > 1
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(1, *shape[1:]),
        shards=(shard, *shape[1:]) if is_sharded else None,
        # GDAL knows no crc32c: where it can read, without shards, they stand in a table beside
        compressors=[*codecs, Crc32cCodec()] if is_sharded else codecs or None,
        dimension_names=axes,
    )


class _ArrayWriter:
    """Chunks of one array, put in any order: of a shard they lie in the order they came in."""

    def __init__(self, folder: Path, chunks: Chunks, shape: tuple[int, ...], shard: int) -> None:
        self._folder, self._chunks, self._axes, self._shard = folder, chunks, len(shape), shard
        self._count = shape[0]
        self.left = self._count
        self._places: dict[int, dict[int, tuple[int, int]]] = {}
        self.checksums: list[int] | None = [0] * self._count if shard == 1 else None

    def put(self, number: int, content: bytes) -> None:
        shard, place = divmod(number, self._shard)
        file = chunk_file(self._folder, shard, self._axes)
        file.parent.mkdir(parents=True, exist_ok=True)
        self.left -= 1
        if self.checksums is not None:
            self.checksums[number] = crc32c(content)
            file.write_bytes(content)
            return
        content = with_crc(content)
        places = self._places.setdefault(shard, {})
        with file.open("ab") as target:
            places[place] = (target.tell(), len(content))
            target.write(content)
            if len(places) == min(self._shard, self._count - shard * self._shard):
                target.write(index_bytes([places[n] for n in sorted(places)], self._shard))
                del self._places[shard]
