"""A simulated area of any size, with known truth: labels, images and an area file."""

import json
import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from mapmill.atomic import write_text
from mapmill.errors import ConfigError
from mapmill.grid import Grid, Window
from mapmill.progress import track
from mapmill.raster import Array, raster_by_window
from mapmill.spectra import BANDS, PERIODS, FloatArray, simulate
from mapmill.world import CELL, VERSION, World, world

log = logging.getLogger(__name__)
LAND_CRS, LEFT, TOP = "EPSG:32631", 400_000.0, 4_600_000.0
UNIT = 512  # cells: whole tiles of every file, so that each tile is compressed once
WORKERS = 2
MARK = "# Simulated by mapmill"
CLASSES = {
    1: ("cropland", "#e8c95c"),
    2: ("grassland", "#a8d46f"),
    3: ("broadleaf", "#1b6b2f"),
    4: ("conifer", "#0b3d2e"),
    5: ("scrub", "#7d8f3c"),
    6: ("bare", "#c8a27a"),
    7: ("building", "#c0392b"),
    8: ("road", "#555555"),
    9: ("water", "#2f6fb7"),
}
Write = Callable[[Window, Array], None]


@dataclass(frozen=True)
class Job:
    """What one pass over a grid makes."""

    world: World
    grid: Grid
    what: str
    """labels, images or both."""

    def centres(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """Metres east and south of the area's north-western corner, of each pixel's centre."""
        step, _, left, _, _, top = self.grid.transform(window)
        east = left + (np.arange(window.width) + 0.5) * step
        south = top - (np.arange(window.height) + 0.5) * step
        x_YX, y_YX = np.meshgrid(east, south)
        if self.grid.crs != LAND_CRS:
            back = Transformer.from_crs(self.grid.crs, LAND_CRS, always_xy=True)
            x_YX, y_YX = back.transform(x_YX, y_YX)
        # what has no place in the area's CRS lies outside it
        return np.nan_to_num(x_YX - LEFT, posinf=-1e9), np.nan_to_num(TOP - y_YX, posinf=-1e9)

    def make(self, window: Window) -> tuple[Window, tuple[Array, Array, Array]]:
        """The window with its labels, truth and images."""
        x_YX, y_YX = self.centres(window)
        return window, simulate(x_YX, y_YX, (window.row, window.col), self.world, self.what)


def run(
    out: Path,
    size: int,
    seed: int,
    *,
    block: int = 2500,
    separate: bool = False,
    crs: str | None = None,
    offset_m: float = 0.0,
    unit: int = UNIT,
) -> None:
    """Write a simulated area into the folder `out`, whose last name is the area's name.

    `labels.tif` has classes at 1 m, `truth.tif` the most frequent of each 10 m cell, and the
    images of two periods the spectra of all classes in a cell. `{name}.yaml` is its area file.

    Parameters
    ----------
    size : pixels of 10 m along one side
    seed : another seed is another place with the same classes and spectra
    block : side of a block in the area file, in pixels; it changes no raster
    separate : one imagery file for each band instead of one for each period
    crs : another CRS for the imagery
    offset_m : shift of the imagery's pixels against the grid, in metres east and north
    unit : cells along one side of what is made at once; it changes no pixel

    Raises
    ------
    ConfigError
        if an argument cannot be, or the folder holds files of another origin.
    """
    _check(out, size, seed, block, offset_m)
    land = Grid(LAND_CRS, LEFT, TOP, float(CELL), size, size, min(block, size))
    sky = land if crs is None and not offset_m else sky_grid(land, crs or LAND_CRS, offset_m)
    images = _image_files(out, separate)
    area_file = out / f"{out.name}.yaml"
    _refuse_others(area_file, [out / "labels.tif", out / "truth.tif", *images])
    start, place = time.monotonic(), world(size, seed)
    tags = {
        "MAPMILL_SIMULATED": f"world {VERSION}, size {size}, seed {seed}",
        "TIFFTAG_IMAGEDESCRIPTION": "Simulated by mapmill simulate: no observation of any place",
    }
    with ExitStack() as stack:
        fine = replace(land, resolution=1.0, width=size * CELL, height=size * CELL)
        opened = [_opened(stack, out / "labels.tif", fine, ("class",), tags)]
        opened.append(_opened(stack, out / "truth.tif", land, ("class",), tags))
        pictures = [_opened(stack, path, sky, names, tags) for path, names in images.items()]
        if sky is land:
            _write(Job(place, land, "both"), unit, opened, pictures)
        else:
            _write(Job(place, land, "labels"), unit, opened, [])
            _write(Job(place, sky, "images"), unit, [], pictures)
    write_text(area_file, area_text(out, land, separate, seed, place))
    log.info("simulated %d x %d px in %.1f s:", size, size, time.monotonic() - start)
    for path in (out / "labels.tif", out / "truth.tif", *images, area_file):
        log.info("  %s", path)
    log.info("next: cp %s config/areas/", area_file)
    log.info("      snakemake --cores all results/%s_landcover.tif", out.name)


def _check(out: Path, size: int, seed: int, block: int, offset_m: float) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", out.name) or set("{}*?[]") & set(str(out)):
        raise ConfigError(
            f"OUT {out}", f"the name {out.name!r}", "lower-case letters, digits and hyphens",
            "name the folder so",
        )  # fmt: skip
    for name, value, least, most in (
        ("--size", size, 32, 100_000),
        ("--seed", seed, 0, 2**63),
        ("--block", block, 16, 100_000),
    ):
        if not least <= value <= most:
            raise ConfigError(name, str(value), f"{least} to {most}", "choose another number")
    if not math.isfinite(offset_m) or abs(offset_m) > 1e6:
        raise ConfigError("--offset", str(offset_m), "metres", "choose another number")


def _refuse_others(area_file: Path, rasters: list[Path]) -> None:
    """A simulation may replace a simulation, and nothing else."""
    old = [path for path in (*rasters, area_file) if path.exists()]
    if not old:
        return
    known = area_file.read_text(encoding="utf-8", errors="replace") if area_file.exists() else ""
    if not known.startswith(MARK):
        raise ConfigError(
            old[0], "a file that may be no simulation", "a folder of its own", "choose another OUT"
        )
    log.info("replacing %d files of an earlier simulation in %s", len(old), area_file.parent)


def sky_grid(land: Grid, crs: str, offset_m: float) -> Grid:
    """The imagery's grid: pixels of about 10 m of another lattice that covers the area.

    Raises
    ------
    ConfigError
        if PROJ does not know the CRS, or the area has no place in it.
    """
    try:
        chosen = CRS.from_user_input(crs)
        to_sky = Transformer.from_crs(LAND_CRS, chosen, always_xy=True)
        bounds = to_sky.transform_bounds(*land.bounds(), densify_pts=101)
        ok = (chosen.is_projected or chosen.is_geographic) and all(map(math.isfinite, bounds))
    except (CRSError, ProjError) as error:
        raise ConfigError("--crs", f"{crs} ({error})", "a CRS known to PROJ", "check it") from None
    if not ok:
        raise ConfigError("--crs", crs, f"a plane CRS around {LAND_CRS}", "choose another")
    metre = 1e-5 if chosen.is_geographic else 1 / chosen.axis_info[0].unit_conversion_factor
    step, shift = CELL * metre, offset_m * metre
    first = [math.floor((value - shift) / step) for value in bounds[:2]]
    last = [math.ceil((value - shift) / step) for value in bounds[2:]]
    width, height = last[0] - first[0], last[1] - first[1]
    return Grid(crs, shift + first[0] * step, shift + last[1] * step, step, width, height, width)


def _image_files(out: Path, separate: bool) -> dict[Path, tuple[str, ...]]:
    """Path -> band names, in the order of periods and bands."""
    if separate:
        return {out / p / f"simulated_{band}.tif": (band,) for p in PERIODS for band in BANDS}
    return {out / f"{period}.tif": BANDS for period in PERIODS}


def _opened(
    stack: ExitStack, path: Path, grid: Grid, names: tuple[str, ...], tags: dict[str, str]
) -> Write:
    dtype = "uint8" if names == ("class",) else "uint16"
    return stack.enter_context(
        raster_by_window(path, grid, dtype, bands=names, nodata=0, tags=tags)
    )


def _write(job: Job, unit: int, classes: list[Write], pictures: list[Write]) -> None:
    """Make the grid square by square and write each to the labels, the truth and the images."""
    squares = [square.window for square in replace(job.grid, block=unit).blocks()]
    done = _in_order(job.make, squares)
    for window, made in track(done, f"simulate {job.what}", len(squares), "squares"):
        label_YX, truth_YX, image_PBYX = made
        if classes:
            side = (window.height * CELL, window.width * CELL)
            classes[0](Window(window.row * CELL, window.col * CELL, *side), label_YX[None])
            classes[1](window, truth_YX[None])
        if pictures:
            bands_YX = image_PBYX.reshape(len(pictures), -1, *image_PBYX.shape[2:])
            for write, array_BYX in zip(pictures, bands_YX, strict=True):
                write(window, array_BYX)


def _in_order(make: Callable[[Window], Any], windows: list[Window]) -> Iterator[Any]:
    """Results in the order of `windows`, made by threads that are never far ahead."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for window in windows:
                waiting.append(pool.submit(make, window))
                if len(waiting) > WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def area_text(out: Path, land: Grid, separate: bool, seed: int, place: World) -> str:
    """The area file: what to learn from the simulation, at a size that suits it."""
    size = land.width
    tile = 128 if size >= 512 else 64 if size >= 128 else 32
    if size >= 16 * tile:
        split = f"{{method: blocks, block: {4 * tile}, train: 0.6, val: 0.2, test: 0.2}}"
    else:  # strips from land to sea, so that each part has some of both
        direction = "west-east" if place.south else "north-south"
        split = f"{{method: strips, direction: {direction}, train: 0.5, val: 0.25, test: 0.25}}"
    classes = "\n".join(
        f'  {value}: {{name: {name}, colour: "{colour}"}}'
        for value, (name, colour) in CLASSES.items()
    )
    periods = "\n".join(
        f"    {period}: {{files: {json.dumps(f'{out.as_posix()}/{period}{suffix}')}}}"
        for period in PERIODS
        for suffix in ["/{scene}_{band}.tif" if separate else ".tif"]
    )
    return AREA.format(
        mark=MARK,
        name=out.name,
        out=out.as_posix(),
        size=size,
        seed=seed,
        crs=LAND_CRS,
        bounds=[round(value) for value in land.bounds()],
        block=max(64, land.block),
        classes=classes,
        labels=json.dumps(f"{out.as_posix()}/labels.tif"),
        periods=periods,
        bands=", ".join(BANDS),
        tile=tile,
        stride=tile // 2,
        split=split,
        score=max(16, min(256, size // 8)),
    )


AREA = """\
{mark} simulate, size {size}, seed {seed}: no such place exists.
#   cp {out}/{name}.yaml config/areas/
#   snakemake --cores all results/{name}_landcover.tif
# {out}/truth.tif has the true class of every pixel of the map.
title: Simulated area {name}
attribution: [Simulated by mapmill; no observation of any place]
license: CC0-1.0

grid:
  crs: {crs}
  resolution: 10
  bounds: {bounds}
  block: {block}

classes:
{classes}

labels:
  file: {labels}

search:
  source: files
  periods:
{periods}

compose:
  bands: [{bands}]

downsample:
  method: mode

select:
  size: {tile}
  stride: {stride}
  split: {split}

train:
  width: 16
  depth: 3
  steps: 300
  batch: 8

assess:
  block: {score}

runs:
  unet: {{}}

maps:
  landcover: {{run: unet}}
"""
