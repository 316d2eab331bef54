"""A look at the pixels of a raster, without reading all of them."""

from pathlib import Path

import numpy as np

from mapmill.raster.opening import Array, opened

BLOCKS = 64


def valid_values(path: Path, band: int, told: float | None = None, blocks: int = BLOCKS) -> Array:
    """Values that are not nodata of blocks spread evenly.

    All blocks where there are no more than `blocks` of them, or where those hold nothing.

    Parameters
    ----------
    told : nodata where the file declares none; 0 if that is None too
    """
    with opened(path) as source:
        windows = [window for _, window in source.block_windows(band)]
        declared = source.nodatavals[band - 1]
        nodata = told if declared is None else declared
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
