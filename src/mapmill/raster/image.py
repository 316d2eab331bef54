"""Any raster as an image of named bands, read window by window."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.raster.opening import Array, RasterInfo, info_of, opened, unreadable


@dataclass(frozen=True)
class Image:
    """Some bands of an opened raster; to be read by one thread at a time."""

    path: Path
    info: RasterInfo
    numbers: tuple[int, ...]
    """Of the bands in the file, from 1, in the order of the image."""
    nodata: tuple[float | None, ...]
    """Declared for each band of the image."""
    is_masked: bool
    """Whether the file has a mask, or a band of opacity."""
    _source: Any

    @property
    def files(self) -> list[Path]:
        """All files that it is read from, such as the sources of a virtual raster."""
        return [Path(name) for name in self._source.files]

    def read(self, window: Window) -> tuple[Array, NDArray[np.bool_]]:
        """Image (band, y, x) and where every band has data (y, x).

        Missing are nodata, what the file's mask hides, and what is no finite float32.

        Raises
        ------
        ContractError
            if the file cannot be read there.
        """
        rows, cols = window.slices(Window(0, 0, self.info.height, self.info.width))
        part = RasterioWindow.from_slices(rows, cols)
        try:
            image_BYX = self._source.read(self.numbers, window=part)
            valid_YX = np.ones(image_BYX.shape[1:], bool)
            if self.is_masked:
                valid_YX = self._source.read_masks(self.numbers[0], window=part) > 0
        except RasterioError as error:
            raise unreadable(self.path, error) from None
        for band_YX, nodata in zip(image_BYX, self.nodata, strict=True):
            if nodata is not None:
                valid_YX &= band_YX != nodata
            if image_BYX.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    valid_YX &= np.isfinite(band_YX.astype(np.float32, copy=False))
        return image_BYX, valid_YX


@contextmanager
def opened_image(
    path: Path, bands: Sequence[str], named: Sequence[str] | None, cache: int
) -> Iterator[Image]:
    """The bands called `bands`, in that order, of a raster.

    Parameters
    ----------
    named : names of the file's bands, in its order; None: their descriptions
    cache : bytes of tiles that GDAL keeps; by itself it would take a share of all the memory

    Raises
    ------
    ContractError
        if the raster is unreadable, rotated, complex, without a CRS or one of the bands.
    """
    with rasterio.Env(GDAL_CACHEMAX=cache), opened(path) as source:
        info = info_of(source, path)
        numbers = _numbers(path, bands, named, info.bands)
        kinds = {source.dtypes[number - 1] for number in numbers}
        if any(kind.startswith("complex") for kind in kinds):
            found = f"{', '.join(sorted(kinds))} numbers"
            raise ContractError(path, found, "real ones", "make an image of what was learnt")
        nodata = tuple(source.nodatavals[number - 1] for number in numbers)
        is_masked = MaskFlags.per_dataset in source.mask_flag_enums[numbers[0] - 1]
        yield Image(path, info, numbers, nodata, is_masked, source)


def _numbers(
    path: Path, bands: Sequence[str], named: Sequence[str] | None, described: Sequence[str]
) -> tuple[int, ...]:
    """Number of each band in the file."""
    if named is not None and len(named) != len(described):
        found = f"{len(described)} bands"
        remedy = "name every band of the file, in its order"
        raise ContractError(path, found, f"{len(named)}, as --bands says", remedy)
    names = list(named or described)
    for band in bands:
        if names.count(band) != 1:
            have = ", ".join(name or "(no name)" for name in names)
            remedy = f"say what the file's bands are, in its order: --bands {','.join(bands)}"
            raise ContractError(path, f"bands {have}", f"{', '.join(bands)}, once each", remedy)
    return tuple(names.index(band) + 1 for band in bands)
