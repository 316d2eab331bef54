"""pack: the kept tiles as a patch store, with the statistics of the training patches."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from mapmill.areafile import load_area
from mapmill.cells import Cell, cells_of, read_cell, side_of
from mapmill.config import Area
from mapmill.errors import ConfigError, ContractError
from mapmill.layout import Layout
from mapmill.moments import Moments, Tally
from mapmill.pieces import Pieces, mosaic_of
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.raster import Array
from mapmill.sections import SPLITS
from mapmill.store import MOST_BYTES, Form, StoreWriter
from mapmill.tiles import Tile, read_tiles

log = logging.getLogger(__name__)
AHEAD = 4
"""Patches in work or waiting to be written, for each thread."""


def run(area_path: Path, output: Path, threads: int = 2) -> None:
    """Write the store whose `zarr.json` is `output`.

    The imagery is read once, cell by cell. Patches are encoded by `threads` threads and written in
    one order, so their number changes no byte. Memory does not grow with the area.

    Raises
    ------
    ContractError
        if a file is not what its stage writes, or values are not finite.
    ConfigError
        if a patch is larger than the compressor takes.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    kept = [tile for tile in read_tiles(layout.tiles) if not tile.dropped]
    main = area.the_select().size
    sizes = [main, *sorted({tile.window.height for tile in kept} - {main})]
    _refuse_too_large(area, max(sizes))
    tiles = {size: [tile for tile in kept if tile.window.height == size] for size in sizes}
    source = Source(area, layout)
    form = _form(area, source)
    pixel_bytes = len(area.bands) * np.dtype(form.dtype).itemsize + 2
    cells = cells_of(kept, side_of(pixel_bytes, max(sizes)))
    nodata = area.compose.nodata
    counted = {size: Tally(len(area.bands), form.dtype, nodata) for size in sizes}
    patches = encoded(source, form, cells, counted, threads)
    with StoreWriter(output.parent, form, tiles, main) as writer:
        for size, number, contents in track(patches, "pack", len(kept), "patches"):
            writer.put(size, number, contents)
        provenance = tags(area, "pack", tiles=file_digest(layout.tiles))
        writer.finish(
            {
                size: _attributes(area, source, size, own, counted[size], output.parent)
                | provenance
                for size, own in tiles.items()
            }
        )
    for size, own in tiles.items():
        training = sum(tile.split == "train" for tile in own)
        log.info(
            "%s: %d patches of %d px, %d of them training",
            *(output.parent, len(own), size, training),
        )


class Source:
    """Where the pixels of tiles are read."""

    def __init__(self, area: Area, layout: Layout) -> None:
        self._area, self._layout = area, layout
        self._pieces = Pieces(area, layout)
        self.names = self._pieces.names
        self.has_fraction = bool(area.grid) and area.downsample.fraction
        self._fraction = mosaic_of(area, layout.fraction, 0) if self.has_fraction else None

    def read(self, cell: Cell, threads: ThreadPoolExecutor) -> dict[str, Array]:
        """image (band, y, x), label (y, x) and fraction (y, x) of a cell's window."""
        window, piece = cell.window, self._pieces.open(cell.piece)
        if piece.is_chip:
            return {"image": piece.image(window), "label": piece.label(window)}
        space = (window.height, window.width)
        bands, dtype = len(self._area.bands), self._area.compose.dtype
        block, layout = self._area.the_grid().block, self._layout

        def whole(read: Any, shape: tuple[int, ...], dtype: str, where: Path) -> Array:
            return read_cell(read, window, shape, dtype, block, where, threads)

        folders = layout.compose(piece.name, "").parent, layout.downsample("").parent
        found = {
            "image": whole(piece.image, (bands, *space), dtype, folders[0]),
            "label": whole(piece.label, space, "uint8", folders[1]),
        }
        if self._fraction:
            share = self._fraction.read
            found["fraction"] = whole(lambda w: share(w)[0], space, "uint8", layout.fraction(""))
        return found


def encoded(
    source: Source,
    form: Form,
    cells: list[Cell],
    counted: dict[int, Tally],
    threads: int,
) -> Iterator[tuple[int, int, dict[str, bytes]]]:
    """Size and number of each patch, and its bytes by array; cell by cell.

    While a cell's last patches are encoded the next cell is read.
    """
    chunks, waiting = form.chunks(), deque[tuple[int, int, Future[Any]]]()

    def work(arrays: dict[str, Array], cell: Cell, tile: Tile) -> tuple[Moments | None, Any]:
        place = tile.window.slices(cell.window)
        patch = {name: np.ascontiguousarray(each[..., *place]) for name, each in arrays.items()}
        tally = counted[tile.window.height] if tile.split == "train" else None
        moments = tally.count(patch["image"]) if tally else None
        return moments, {name: chunks[name].encode(each) for name, each in patch.items()}

    def done() -> tuple[int, int, dict[str, bytes]]:
        size, number, job = waiting.popleft()
        moments, contents = job.result()
        if moments is not None:
            counted[size].follow(moments)
        return size, number, contents

    with ThreadPoolExecutor(threads, "pack") as pool:
        for cell in cells:
            arrays = source.read(cell, pool)
            for number, tile in cell.tiles:
                job = pool.submit(work, arrays, cell, tile)
                waiting.append((tile.window.height, number, job))
                if len(waiting) > AHEAD * threads:
                    yield done()
            del arrays  # else two cells would be in memory while the next one is read
        while waiting:
            yield done()


def _form(area: Area, source: Source) -> Form:
    return Form(
        bands=area.bands,
        dtype=area.compose.dtype,
        classes=len(area.classes),
        pieces=source.names,
        splits=SPLITS,
        shard=area.pack.shard,
        codec=area.pack.codec,
        has_fraction=source.has_fraction,
    )


def _refuse_too_large(area: Area, largest: int) -> None:
    """Blosc takes no more than 2 GiB at once."""
    side = isqrt(MOST_BYTES // (len(area.bands) * np.dtype(area.compose.dtype).itemsize))
    if largest > side:
        found = f"{largest} px with {len(area.bands)} bands"
        raise ConfigError("select.size", found, f"at most {side} px", "lower it")


def _attributes(
    area: Area, source: Source, size: int, tiles: Sequence[Tile], tally: Tally, where: Path
) -> dict[str, Any]:
    """What is kept with the patches of one size."""
    training = [tile for tile in tiles if tile.split == "train"]
    statistics = tally.summary()
    for band, least, most in zip(area.bands, statistics["min"], statistics["max"], strict=True):
        if least is not None and not np.isfinite([least, most]).all():
            found = f"training pixels of {band} from {least} to {most}"
            raise ContractError(where, found, "finite values", "correct the imagery")
    return {
        "size": size,
        "bands": area.bands,
        "units": area.compose.units,
        "classes": {str(value): entry.name for value, entry in area.classes.items()},
        "nodata": None if np.isnan(area.compose.nodata) else area.compose.nodata,
        "pieces": source.names,
        "splits": list(SPLITS),
        "statistics": statistics,
        "class_pixels": [sum(t.counts[k] for t in training) for k in range(len(area.classes))],
    }
