"""A look at the pixels of a raster, without reading all of them."""

from pathlib import Path

import numpy as np

from mapmill.raster.opening import Array, opened

BLOCKS = 64


def valid_values(path: Path, band: int, blocks: int = BLOCKS) -> Array:
    """Values that are not nodata (nor 0, where none is declared) of blocks spread evenly.

    All blocks where there are no more than `blocks` of them, or where those hold nothing.
    """
    with opened(path) as source:
        windows = [window for _, window in source.block_windows(band)]
        nodata = source.nodatavals[band - 1]
        step = max(1, len(windows) // blocks)
        for chosen in (windows[step // 2 :: step], windows):
            found = [_valid(source.read(band, window=window), nodata) for window in chosen]
            values = np.concatenate(found)
            if values.size:
                break
        return values


def _valid(values_YX: Array, nodata: float | None) -> Array:
    values = values_YX[~np.isnan(values_YX)] if values_YX.dtype.kind == "f" else values_YX.ravel()
    empty = 0 if nodata is None or np.isnan(nodata) else nodata
    return np.asarray(values[values != empty])
