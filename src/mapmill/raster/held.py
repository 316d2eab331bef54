"""GeoTIFFs that GDAL reads through a file object of ours, and errors that it cannot lose."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from mapmill.errors import ContractError
from mapmill.raster.opening import quietly

WHOLE = "set download.read: whole"
SETTINGS = {
    "GDAL_CACHEMAX": 128 * 2**20,  # by itself GDAL would take a share of all the memory there is
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no search for files beside it
    "GDAL_NUM_THREADS": "1",
    "GTIFF_IGNORE_READ_ERRORS": "NO",  # else a tile that cannot be read becomes zeros
}


class HeldFile:
    """A file object as GDAL reads it.

    An error does not pass through GDAL, which might go on without the bytes: it is kept, ends
    all reading, and is raised by `told`.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self._error: BaseException | None = None

    def told(self) -> None:
        """Raise the first error that there was."""
        if self._error is not None:
            raise self._error

    def read_at(self, start: int, size: int) -> bytes:
        """Bytes from `start` on; none after an error, which GDAL takes for a file that ends."""
        try:
            self.told()
            self.file.seek(start)
            content: bytes = self.file.read(size)
        except BaseException as error:
            self._error = self._error or error
            return b""
        return content

    def end(self) -> int:
        """Bytes of the file; 0 after an error."""
        try:
            self.told()
            end: int = self.file.seek(0, os.SEEK_END)
        except BaseException as error:
            self._error = self._error or error
            return 0
        return end


class _Handle:
    """One of the places where GDAL reads in the file; the file object is not its to close."""

    def __init__(self, held: HeldFile) -> None:
        self._held, self._at = held, 0

    def read(self, size: int = -1) -> bytes:
        content = self._held.read_at(self._at, size)
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (self._held.end() if start is None else start)
        return self._at

    def tell(self) -> int:
        return self._at

    def __enter__(self) -> "_Handle":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def opened_held(held: HeldFile, where: str) -> Iterator[Any]:
    """A GeoTIFF opened for reading with `SETTINGS`, and no file but it; use it in `reading`."""
    name = f"{secrets.token_hex(8)}/source.tif"  # one in this process, whatever it reads besides

    def give(path: str, mode: str = "rb") -> _Handle:
        if path not in (name, "test") or "r" not in mode:  # rasterio tries `test` at first
            raise FileNotFoundError(path)
        return _Handle(held)

    with rasterio.Env(**SETTINGS):
        with reading(held, where), quietly():
            source = rasterio.open(name, driver="GTiff", sharing=False, opener=give)
        with source:
            yield source


@contextmanager
def reading(held: HeldFile, where: str) -> Iterator[None]:
    """Around each use of rasterio: what went wrong with the file object comes first."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        held.told()
        said = re.sub(r"/vsi\S*\.tif'?", "it", str(error)).replace("'it", "it")
        found = f"no readable raster ({said})"
        remedy = f"rerun; if it stays, {WHOLE}"
        raise ContractError(where, found, "a GeoTIFF that GDAL reads", remedy) from None
    held.told()
