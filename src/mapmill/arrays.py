"""Arrays of chips in any of their formats: GeoTIFF, PNG with world file, HDF5, npz."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapmill.chips import Chip
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Affine6
from mapmill.indices import with_differences
from mapmill.raster import NOWHERE, Array, Georeference, check_whole, read_image
from mapmill.recode import to_classes
from mapmill.regular import regular
from mapmill.sections import ChipImages

HDF5 = {".h5", ".hdf5", ".he5", ".hdf"}
UNREADABLE = (
    *(OSError, KeyError, ValueError, TypeError, AttributeError, SyntaxError, EOFError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error),
)
"""What the readers of damaged files raise."""
TOLERANCE = 0.01
"""Pixels by which the georeferences of one chip's files may differ."""


@dataclass(frozen=True)
class ChipImage:
    """All bands of a chip."""

    image_BYX: Array
    """(band, y, x) in the area's dtype, its nodata where any file has none."""
    place: Georeference


def read_chip(area: Area, chip: Chip) -> ChipImage:
    """The bands that the area composes, stacked from the chip's files.

    Raises
    ------
    ContractError
        if a file cannot be read, has another number of bands than are named, another shape
        or another place than the first one, or values that the area's dtype cannot hold.
    """
    assert area.chips is not None
    held: dict[str, Array] = {}
    place, first = NOWHERE, chip.images[0]
    for entry, path in zip(area.chips.images, chip.images, strict=True):
        array_BYX, lies, nodata = _read(path, entry.dataset, area.chips.arrays)
        if len(array_BYX) != len(entry.bands):
            raise ContractError(
                path,
                f"{len(array_BYX)} bands",
                f"{len(entry.bands)} ({', '.join(entry.bands)})",
                "correct chips.images.bands (arrays: bands-last or bands-first)",
            )
        shape = array_BYX.shape[1:]
        _check_shape(path, shape, next(iter(held.values()), array_BYX[0]).shape)
        place = _same_place(path, lies, place, first, shape)
        nodata = entry.nodata if entry.nodata is not None else nodata
        for band, values_YX in zip(entry.bands, array_BYX, strict=True):
            if band in area.compose.bands:
                held[band] = _converted(values_YX, area, entry, nodata, path)
    stacked = np.stack([held[band] for band in area.compose.bands])
    return ChipImage(with_differences(area.compose, stacked), place)


def read_mask(area: Area, chip: Chip, image: ChipImage) -> NDArray[np.uint8]:
    """Classes (y, x) of a chip; all 0 for a chip without mask.

    A mask of three bands is read as colours, `#rrggbb` in `labels.codes`.

    Raises
    ------
    ContractError
        if it has another shape or place than the image, or codes that are no classes.
    """
    shape = image.image_BYX.shape[1:]
    if chip.mask is None or area.chips is None or area.chips.masks is None:
        return np.zeros(shape, np.uint8)
    array_BYX, lies, nodata = _read(chip.mask, area.chips.masks.dataset, area.chips.arrays)
    _check_shape(chip.mask, array_BYX.shape[1:], shape)
    _same_place(chip.mask, lies, image.place, chip.images[0], shape)
    codes = area.labels.codes if area.labels else None
    _check_colours(chip.mask, len(array_BYX), codes or {})
    if len(array_BYX) in (3, 4):
        red, green, blue = array_BYX[:3].astype(np.int32)
        codes_YX, nodata = (red << 16) | (green << 8) | blue, None
    elif len(array_BYX) == 1:
        codes_YX = array_BYX[0]
    else:
        raise ContractError(
            chip.mask, f"{len(array_BYX)} bands", "1, or 3 for colours", "correct chips.masks"
        )
    return to_classes(chip.mask, codes_YX, codes, len(area.classes), nodata)


def _check_colours(path: Path, bands: int, codes: Mapping[str, int]) -> None:
    """Refuse a mask whose codes are of the other kind: all of it would be ignored."""
    colours = [code.startswith("#") for code in codes]
    if bands == 1 and colours and all(colours):
        raise ContractError(
            path, "1 band", "3, for the colours in labels.codes", "save it as RGB, or give numbers"
        )
    if bands in (3, 4) and colours and not any(colours):
        raise ContractError(
            path, f"{bands} bands", "1, for the numbers in labels.codes", "give colours (#rrggbb)"
        )


def _read(path: Path, dataset: str | None, axes: str) -> tuple[Array, Georeference, float | None]:
    """Array (band, y, x) of a file, where it lies, its declared nodata."""
    suffix = path.suffix.lower()
    place, nodata = NOWHERE, None
    try:
        regular(path)
        if suffix in HDF5:
            array = _from_hdf5(path, dataset)
        elif suffix == ".npz":
            array = _from_npz(path, dataset)
        else:
            array, place, nodata = read_image(path)
            axes = "bands-first"
            if suffix == ".png":
                _check_png(path)
    except UNREADABLE as error:
        raise ContractError(
            path, f"no readable array ({error})", "a whole file", "check the file or its dataset"
        ) from None
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and axes == "bands-last":
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.dtype.kind not in "iufb" or not array.size:
        found = f"an array {' x '.join(map(str, array.shape))} of {array.dtype}"
        raise ContractError(path, found, "numbers on 2 or 3 axes", "convert it")
    return array, place, nodata


def _check_png(path: Path) -> None:
    """Raise ValueError for a PNG that is not whole: GDAL reads it with black where it ends.

    A PNG is a signature of 8 bytes and chunks of length, name, data and CRC (ISO/IEC 15948).
    """
    check_whole(path, path.stat().st_size, "u1")
    content, start, name = path.read_bytes(), 8, b""
    while name != b"IEND":
        length, name = int.from_bytes(content[start : start + 4]), content[start + 4 : start + 8]
        end = start + 8 + length
        if zlib.crc32(content[start + 4 : end]) != int.from_bytes(content[end : end + 4] or b"x"):
            raise ValueError("truncated or damaged")
        start = end + 4


def _from_hdf5(path: Path, dataset: str | None) -> Array:
    import h5py

    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        found = file[_chosen(path, dataset and dataset.strip("/"), names)]
        if found.shape is None:
            raise ValueError(f"{found.name} is empty")
        check_whole(path, found.size, found.dtype)
        return np.asarray(found)


def _from_npz(path: Path, dataset: str | None) -> Array:
    if not zipfile.is_zipfile(path):
        raise ValueError("no npz file, or truncated")
    with zipfile.ZipFile(path) as archive:  # what is unpacked is checked before it is
        check_whole(path, max((member.file_size for member in archive.infolist()), default=0), "u1")
    with np.load(path, allow_pickle=False) as file:
        array = file[_chosen(path, dataset, list(file.files))]
    if not isinstance(array, np.ndarray):
        raise ValueError("not saved by NumPy")
    return array


def _chosen(path: Path, dataset: str | None, names: list[str]) -> str:
    if dataset in names or (dataset is None and len(names) == 1):
        return dataset or names[0]
    found = f"arrays {', '.join(names) or 'none'}"
    raise ContractError(path, found, f"{dataset or 'one only'}", "name it: dataset under chips")


def _check_shape(path: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ContractError(
            path,
            f"{found[1]} x {found[0]} px",
            f"{expected[1]} x {expected[0]} px as the chip's image",
            "masks and images have one shape",
        )


def _same_place(
    path: Path, lies: Georeference, known: Georeference, first: Path, shape: tuple[int, ...]
) -> Georeference:
    """The georeference of a chip, after comparing that of one more file.

    A world file says where, but not in which CRS: it then is that of the other file.
    """
    crs = known.crs or lies.crs
    if lies.transform is None or known.transform is None:
        return Georeference(crs, known.transform or lies.transform)
    a, b, *_ = known.transform
    apart = max(
        abs(there - here)
        for row, col in ((0, 0), (0, shape[1]), (shape[0], 0))
        for there, here in zip(
            _corner(lies.transform, row, col), _corner(known.transform, row, col), strict=True
        )
    )
    if (lies.crs or crs) != crs or apart > TOLERANCE * (abs(a) + abs(b)):
        raise ContractError(
            path, f"another place than {first}", "one place for a chip's files", "warp one of them"
        )
    return Georeference(crs, known.transform)


def _corner(transform: Affine6, row: int, col: int) -> tuple[float, float]:
    a, b, c, d, e, f = transform
    return a * col + b * row + c, d * col + e * row + f


def _converted(
    values_YX: Array, area: Area, entry: ChipImages, nodata: float | None, path: Path
) -> Array:
    """Values in the area's dtype; what is missing becomes the area's nodata."""
    values: Array
    missing = np.zeros(values_YX.shape, bool)
    if values_YX.dtype.kind == "f":
        missing |= ~np.isfinite(values_YX)
    if nodata is not None:
        missing |= values_YX == nodata
    if area.compose.dtype == "float32":
        with np.errstate(over="ignore"):
            values = values_YX.astype(np.float32)
        missing |= ~np.isfinite(values)  # what float32 cannot hold is a fill value
    else:
        there = values_YX[~missing]
        if there.size and ((there % 1 != 0).any() or there.min() < 0 or there.max() > 65535):
            raise ContractError(
                path,
                f"{values_YX.dtype} values {there.min():g} to {there.max():g}",
                "whole numbers 0 to 65535",
                "set compose.dtype: float32",
            )
        values = np.where(missing, 0, values_YX).astype(np.uint16)
    return np.where(missing, np.array(area.compose.nodata, values.dtype), values)
