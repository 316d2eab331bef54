"""pack: the kept tiles as a patch store, with the statistics of the training patches."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.layout import Layout
from mapmill.pieces import Pieces
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.raster import Array, valid_pixels
from mapmill.sections import SPLITS
from mapmill.store import Patch, write_store
from mapmill.tiles import Tile, read_tiles

log = logging.getLogger(__name__)


def run(area_path: Path, output: Path) -> None:
    """Write the store whose `zarr.json` is `output`."""
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    kept = [tile for tile in read_tiles(layout.tiles) if not tile.dropped]
    training = [tile for tile in kept if tile.split == "train"]
    pieces = Pieces(area, layout)
    attributes = {
        "bands": area.bands,
        "units": area.compose.units,
        "classes": {str(value): entry.name for value, entry in area.classes.items()},
        "nodata": None if np.isnan(area.compose.nodata) else area.compose.nodata,
        "pieces": pieces.names,
        "splits": list(SPLITS),
        "statistics": statistics(
            area, track(patches(pieces, training), "statistics", len(training))
        ),
        "class_pixels": [sum(t.counts[k] for t in training) for k in range(len(area.classes))],
        **tags(area, "pack", tiles=file_digest(layout.tiles)),
    }
    write_store(
        output.parent,
        kept,
        track(patches(pieces, kept), "pack", len(kept), "patches"),
        bands=area.bands,
        dtype=area.compose.dtype,
        shard=area.pack.shard,
        attributes=attributes,
    )
    log.info("%s: %d patches, %d of them training", output.parent, len(kept), len(training))


def patches(pieces: Pieces, tiles: list[Tile]) -> Iterator[Patch]:
    """Image and label of tiles, in order."""
    for tile in tiles:
        piece = pieces.open(tile.piece)
        yield piece.image(tile.window), piece.label(tile.window)


def statistics(area: Area, training: Iterator[Patch]) -> dict[str, list[float]]:
    """Mean and standard deviation of each band over valid pixels, in float64."""
    bands = len(area.bands)
    count, total, square = 0, np.zeros(bands), np.zeros(bands)
    for image_BYX, _ in training:
        pixels_BP = image_BYX[:, valid_pixels(image_BYX, area.compose.nodata)].astype(np.float64)
        count += pixels_BP.shape[1]
        total += pixels_BP.sum(axis=1)
        square += (pixels_BP**2).sum(axis=1)
    mean = total / max(count, 1)
    variance: Array = np.maximum(square / max(count, 1) - mean**2, 0)
    return {"mean": mean.tolist(), "sd": np.sqrt(variance).tolist(), "pixels": [float(count)]}
