"""compose: the bands of a period's scenes, on one block of the grid.

A block is made in parts. While one part is combined and written, threads read the next.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import shape

from mapmill.areafile import load_area
from mapmill.catalogue.items import Asset, Scene, read_scenes
from mapmill.combine import Combination, First, Greenest, Mean, Median
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.grid import Grid, Window
from mapmill.indices import with_differences
from mapmill.layout import Layout
from mapmill.observe import EMPTY, KINDS
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.raster import Array, footprint_wgs84, raster_by_window
from mapmill.raster.writing import TILE
from mapmill.scene_reading import Observation, SceneReader
from mapmill.sections import CATALOGUES, Compose

log = logging.getLogger(__name__)
MISSING = 0.02
"""Share of a block's pixels that may be missing within footprints, which are rough."""
PART = 32 * 2**20
"""Bytes of the images that are combined at once."""
OPEN = 200
"""Files that are kept open; systems allow some hundreds in one process."""
UNKNOWN = 101.0
"""Percent of clouds of a scene that does not tell them: after all others."""
SERVED = ("SCL", "dataMask")
"""What a block of Sentinel Hub holds after its bands."""


def run(area_path: Path, period: str, block_name: str, output: Path, *, threads: int = 1) -> None:
    """Write the image of one period and block: (band, y, x), names and nodata set.

    Beside it, in the folder `quality`, goes what was observed of each pixel: the number of
    observations that could be used, and the state of what was taken (see `observe`).

    Parameters
    ----------
    threads : that read, and that compress; they change no byte

    Raises
    ------
    ContractError
        if there is no scene, or a scene is not as the search has pinned it.
    """
    area = load_area(area_path)
    area.period(period)
    layout, grid = Layout(area_path.stem), area.the_grid()
    window = grid_block(area, block_name).window
    scenes = _ordered(
        _scenes(area, layout, period, block_name), area.compose, layout.search(period)
    )
    told = tags(area, "compose", **_provenance(area, layout, period, block_name))
    with ExitStack() as stack:
        # the image comes last, since it is what the next stages ask for
        write_image = stack.enter_context(
            raster_by_window(
                output, grid, area.compose.dtype, bands=area.bands, nodata=area.compose.nodata,
                tags=told, extent=window, threads=threads, sparse=False,
            )
        )  # fmt: skip
        quality = output.parent / "quality" / output.name
        write_quality = stack.enter_context(
            raster_by_window(
                quality, grid, "uint8", bands=("observations", "state"), nodata=0, tags=told,
                extent=window, sparse=False,
            )
        )  # fmt: skip
        folder = layout.download(period)
        readers = [SceneReader(area, each, folder / each.id, window) for each in scenes]
        seen = 0
        for part, image_BYX, quality_BYX in _combined(area.compose, readers, window, threads):
            write_image(part, with_differences(area.compose, image_BYX))
            write_quality(part, quality_BYX)
            seen += int(np.count_nonzero(quality_BYX[1] != EMPTY))
    share = seen / (window.height * window.width)
    log.info(
        "%s: %d bands, %d scenes, %.1f %% of pixels observed",
        *(output, len(area.bands), len(scenes), 100 * share),
    )
    if area.source in CATALOGUES:
        _warn_of_holes(scenes, grid, window, share)


# ------------------------------------------------------------------------------------ in parts
def _combined(
    chosen: Compose, readers: Sequence[SceneReader], window: Window, threads: int
) -> Iterator[tuple[Window, Array, Array]]:
    """Each part of the block: its image (band, y, x), and its quality layer (2, y, x)."""
    item = np.dtype(chosen.dtype).itemsize * len(chosen.measured)
    held = len(readers) if chosen.combine == "median" else 1
    parts = list(parts_of(window, PART // (item * held)))
    asked = [(part, reader) for part in parts for reader in readers]
    combination = _combination(chosen)
    done = track(_ahead(asked, threads), "compose", len(asked), "parts")
    for number, observed in enumerate(done, 1):
        combination.add(observed.image_BYX, observed.state_YX)
        if number % len(readers) == 0:
            yield observed.window, combination.image(), combination.quality()
            combination = _combination(chosen)


def _ahead(asked: Sequence[tuple[Window, SceneReader]], threads: int) -> Iterator[Observation]:
    """Observations in order; while one is worked on, threads read the next.

    A file is read by one thread at a time: the next part is begun when the last one is there.
    """
    readers = {id(reader): reader for _, reader in asked}
    keep = len(readers) * len(asked[0][1].chosen.wanted) <= OPEN
    pool = ThreadPoolExecutor(threads)
    try:
        jobs = [pool.submit(job) for job in asked[0][1].begin(asked[0][0])]
        for number, (_, reader) in enumerate(asked):
            for job in jobs:
                job.result()
            observed = reader.finish()
            if not keep:
                reader.close()
            if number + 1 < len(asked):
                part, following = asked[number + 1]
                jobs = [pool.submit(job) for job in following.begin(part)]
            yield observed
    finally:
        pool.shutdown(cancel_futures=True)
        for reader in readers.values():
            reader.close()


def parts_of(window: Window, pixels: int) -> Iterator[Window]:
    """Parts of a block of at most so many pixels, which complete its tiles one after the other.

    Rows of tiles, as many tiles of a row as fit, or rows of pixels of one tile; at least one row.
    """
    across = max(1, pixels // TILE // TILE) * TILE
    down = TILE if pixels >= TILE * TILE else max(1, pixels // TILE)
    for top in range(0, window.height, TILE):
        for left in range(0, window.width, across):
            for row in range(top, min(top + TILE, window.height), down):
                end = min(row + down, top + TILE, window.height)
                width = min(across, window.width - left)
                yield Window(window.row + row, window.col + left, end - row, width)


def _combination(chosen: Compose) -> Combination:
    removed = {KINDS[kind] for kind in chosen.mask.remove} if chosen.mask else set()
    kept = [state for state in KINDS.values() if state != EMPTY and state not in removed]
    if chosen.combine == "median":
        return Median(chosen.nodata, kept)
    if chosen.combine == "mean":
        return Mean(chosen.nodata, kept)
    if chosen.ndvi:
        nir, red = map(chosen.bands.index, chosen.ndvi)
        return Greenest(chosen.nodata, kept, nir, red)
    return First(chosen.nodata, kept)


# -------------------------------------------------------------------------------------- scenes
def _scenes(area: Area, layout: Layout, period: str, block: str) -> list[Scene]:
    """The scenes of a period; of Sentinel Hub, the one that is this very block."""
    if area.source != "sentinelhub":
        return read_scenes(layout.search(period))
    bands = tuple(area.compose.bands)
    return [Scene("", (Asset(block, f"{block}.tif", (*bands, *SERVED)),))]


def _ordered(scenes: list[Scene], chosen: Compose, listing: Path) -> list[Scene]:
    """Scenes in the order in which they give pixels.

    For least-cloudy by the clouds of the whole scene, as the catalogue tells them: scenes that
    tell none come last, and those that are alike in their pinned order. Clouds within the block
    would give another order in the next block, and a seam between them.

    Raises
    ------
    ContractError
        if there is no scene, or the order is asked for and no scene tells its clouds.
    """
    if not scenes:
        raise ContractError(listing, "no scene", "at least one", "correct search and rerun it")
    if chosen.combine != "least-cloudy" or len(scenes) == 1:
        return scenes
    clouds = [_cloud(scene) for scene in scenes]
    if min(clouds) == UNKNOWN:
        raise ContractError(
            listing, "no scene with eo:cloud_cover", "one", "set compose.combine: first"
        )
    order = sorted(range(len(scenes)), key=clouds.__getitem__)
    return [scenes[number] for number in order]


def _cloud(scene: Scene) -> float:
    """Clouds in percent, UNKNOWN where they are not told; some write -1 for that."""
    value = scene.properties.get("eo:cloud_cover")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100:
        return float(value)
    return UNKNOWN


def _provenance(area: Area, layout: Layout, period: str, block: str) -> dict[str, str]:
    """Digest of what the image was made from."""
    if area.source == "sentinelhub":
        return {"download": file_digest(layout.download(f"{period}/{block}.tif"))}
    return {"search": file_digest(layout.search(period))}


def _warn_of_holes(scenes: list[Scene], grid: Grid, window: Window, share: float) -> None:
    """Say so where scenes have no pixels, though their footprints are said to be there.

    Clouds are no holes: `share` is that of pixels that were observed at all.
    """
    block = shape(footprint_wgs84(grid, window))
    footprints = [shapely.make_valid(shape(dict(scene.geometry))) for scene in scenes]
    told = shapely.intersection(shapely.union_all(footprints), block).area / block.area
    if share < told - MISSING:
        log.warning(
            "scenes are said to cover %.0f %% of the block, and %.0f %% of its pixels have data: "
            "look at them; raise search.catalogue.layers, or exclude one",
            *(100 * told, 100 * share),
        )
