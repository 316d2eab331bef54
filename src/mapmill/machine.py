"""What this machine has: room, memory, GPU, and libraries that work."""

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Literal

from mapmill.config import Area
from mapmill.estimate import Estimate
from mapmill.extent import blocks_of, extent_of
from mapmill.layout import RESOURCES, Layout
from mapmill.progress import size_text
from mapmill.sections import VECTOR_SUFFIXES

State = Literal["ok", "missing", "failed", "not needed"]
SNAKEMAKE = (9, 20)
"""The least version."""
LIMIT = Path("/sys/fs/cgroup/memory.max")
BASE_BYTES = 15 * 10**8
"""Memory of a process with its libraries, GDAL's cache and a net."""
COPIES = 8
"""Bytes for each value of a block: as it is read, as float32, and what is made of it."""
SPARE = 1.1
"""A disk is not filled to the last byte."""
REINSTALL = "install mapmill again: make env"
DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf"}


@dataclass(frozen=True)
class Row:
    """One check."""

    what: str
    state: State
    found: str
    remedy: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether something that is needed is not there."""
        return self.state in ("missing", "failed")


def disk(layout: Layout, found: Estimate) -> list[Row]:
    """Room for results and downloads, beside what is there of them already."""
    results = sum(found.disk_bytes.values()) - found.disk_bytes["download"]
    needs = {
        Path("results"): max(results - _used(layout.root), 0),
        RESOURCES: max(found.download.size - found.download.present_size, 0),
    }
    places = {folder: _standing(folder) for folder in needs}
    rows = []
    for folder, place in places.items():
        alike = [f for f, p in places.items() if os.stat(p).st_dev == os.stat(place).st_dev]  # noqa: PTH116
        both = sum(needs[each] for each in alike)
        free = shutil.disk_usage(place).free
        unknown = folder == RESOURCES and (found.download.unknown or found.download.unsearched)
        more = " and files of unknown size" if unknown else ""
        said = f"{size_text(free)} free, about {size_text(needs[folder])}{more} needed here"
        if len(alike) > 1:
            said += f", {size_text(both)} on this disk"
        fits = SPARE * both <= free
        remedy = f"make room, or make {folder} a link to a larger disk"
        rows.append(Row(f"disk: {folder}/", "ok" if fits else "failed", said, remedy * (not fits)))
    return rows


def _used(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except OSError:  # another process has taken it away
                continue
    return total


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    place = folder.resolve()
    return next(each for each in (place, *place.parents) if each.exists())


def memory(area: Area) -> Row:
    """Memory for one block at a time."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = LIMIT.read_text().strip() if LIMIT.exists() else "max"
    there = min(pages, int(limit)) if limit.isdigit() else pages
    sizes = [b.window.width * b.window.height for b in blocks_of(area)] if area.grid else [0]
    need = BASE_BYTES + COPIES * len(area.bands) * max(sizes)
    said = f"{size_text(there)}, about {size_text(need)} needed for each job at a time"
    if there >= need:
        return Row("memory", "ok", said)
    return Row(
        "memory", "failed", said, "lower grid.block and predict.tile, or use a larger machine"
    )


def gpu(area: Area) -> Row:
    """What training runs on."""
    import torch  # slow to load

    from mapmill.nets.model import choose_device

    for run in area.runs:
        choose_device(area.train_of(run).device)  # raises for one that is named and not there
    choose_device(area.predict.device)
    if torch.cuda.is_available():
        own = torch.cuda.get_device_properties(0)
        return Row("GPU", "ok", f"{own.name}, {size_text(own.total_memory)} (CUDA)")
    if torch.backends.mps.is_available():
        return Row("GPU", "ok", "Apple's (MPS)")
    runs = "training runs on the CPU" if area.runs else "prediction runs on the CPU"
    return Row("GPU", "ok", f"none: {runs}, {os.cpu_count()} cores")


def gdal(area: Area, files: Iterable[str]) -> Row:
    """Formats that are read and written.

    Parameters
    ----------
    files : names of files that are to be read
    """
    from mapmill import vector
    from mapmill.raster.formats import gdal as known

    version, there = known()
    suffixes = {Path(name).suffix.lower() for name in files}
    rasters = ["GTiff", "COG", "VRT"] + ["JP2OpenJPEG"] * bool(suffixes & {".jp2", ".j2k"})
    layers = sorted({DRIVERS[suffix] for suffix in suffixes & VECTOR_SUFFIXES})
    if area.aoi:
        layers = sorted({*layers, "GeoJSON"})
    missing = [name for name in rasters if name not in there]
    missing += [name for name in layers if name not in vector.drivers()]
    if missing:
        return Row("GDAL", "failed", f"{version} without {', '.join(missing)}", REINSTALL)
    return Row("GDAL", "ok", f"{version} with {', '.join([*rasters, *layers])}")


def proj(area: Area) -> Row:
    """PROJ and its data, for the CRS of the grid: of GDAL and of pyproj, which bring their own."""
    if not area.grid:
        return Row("PROJ", "not needed", "chips lie where their files say")
    from pyproj import Transformer

    from mapmill.raster import area_bounds_wgs84

    grid, extent = area.the_grid(), extent_of(area)
    one = area_bounds_wgs84(grid, extent)
    to_degrees = Transformer.from_crs(grid.crs, "OGC:CRS84", always_xy=True)
    other = to_degrees.transform_bounds(*grid.bounds(extent))
    agree = all(isfinite(a) and abs(a - b) < 1e-4 for a, b in zip(one, other, strict=True))
    said = "{:.3f}, {:.3f} to {:.3f}, {:.3f} degrees".format(*one)
    if not agree:
        remedy = f"unset PROJ_DATA and PROJ_LIB, which may be another program's; or {REINSTALL}"
        return Row("PROJ", "failed", f"{said}, and otherwise in pyproj", remedy)
    return Row("PROJ", "ok", f"{grid.crs.partition('[')[0]}: {said}")


def snakemake() -> Row:
    """The workflow's program."""
    least = ".".join(map(str, SNAKEMAKE))
    try:
        version = metadata.version("snakemake")
    except metadata.PackageNotFoundError:
        return Row("Snakemake", "missing", "not installed", REINSTALL)
    if tuple(int(part) for part in version.split(".")[:2]) < SNAKEMAKE:
        return Row("Snakemake", "failed", f"{version}, before {least}", REINSTALL)
    beside = Path(sys.executable).parent
    if shutil.which("snakemake"):
        return Row("Snakemake", "ok", version)
    if (beside / "snakemake").exists():
        found = f"{version}, in {beside}, which is not on the PATH"
        return Row("Snakemake", "missing", found, f"export PATH={beside}:$PATH")
    return Row("Snakemake", "missing", f"{version}, without its command", REINSTALL)
