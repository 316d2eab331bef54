"""From the codes of a label map to classes, as arrays."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ContractError


def to_classes(
    path: Path,
    codes_YX: NDArray[Any],
    table: Mapping[str, int] | None,
    classes: int,
    missing: float | None,
) -> NDArray[np.uint8]:
    """Classes 0 to K (y, x) of source codes.

    Parameters
    ----------
    table : class by code; unlisted codes become 0. None: the codes are the classes
    missing : a code that means 0, whatever the table says; NaN always does

    Raises
    ------
    ContractError
        naming `path`, if the table has a number twice, or there is none and a code is no class.
    """
    if table is not None:
        numbers = {code_number(path, code): value for code, value in table.items()}
        if len(numbers) < len(table):
            codes = ", ".join(sorted(table, key=lambda code: code_number(path, code)))
            raise ContractError(
                path, f"codes {codes}", "each number once", "1, 01 and 1.0 are one code"
            )
        if missing is not None:
            numbers[missing] = 0
        return _looked_up(codes_YX, numbers)
    result = np.zeros(codes_YX.shape, np.uint8)
    there_YX = np.ones(codes_YX.shape, bool)
    if codes_YX.dtype.kind == "f":
        there_YX = ~np.isnan(codes_YX)
    if missing is not None:
        there_YX &= codes_YX != missing
    found = codes_YX[there_YX]
    beyond = found[(found > classes) | (found < 0) | (found % 1 != 0)]
    if beyond.size:
        raise ContractError(
            path,
            f"code {beyond[0]:g}",
            f"classes 0 to {classes}",
            "give labels.codes, the table from codes to classes",
        )
    result[there_YX] = found
    return result


def _looked_up(codes_YX: NDArray[Any], numbers: Mapping[float, int]) -> NDArray[np.uint8]:
    dtype = codes_YX.dtype.newbyteorder("=")  # HDF5 and npz may hold the other order of bytes
    codes_YX = codes_YX.astype(dtype, copy=False)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        table = np.zeros(2 ** (8 * dtype.itemsize), np.uint8)
        for code, value in numbers.items():
            if limits.min <= code <= limits.max and code == int(code):
                table[int(code)] = value  # a negative code from the end: two's complement
        found: NDArray[np.uint8] = table[codes_YX.view(f"u{dtype.itemsize}")]
        return found
    result = np.zeros(codes_YX.shape, np.uint8)
    for code, value in numbers.items():
        result[codes_YX == code] = value
    return result


def code_number(path: Path, code: str) -> float:
    """A code as the number that a raster holds; `#rrggbb` is red * 65536 + green * 256 + blue."""
    if re.fullmatch("#[0-9a-fA-F]{6}", code):
        return int(code[1:], 16)
    try:
        return float(code)
    except ValueError:
        raise ContractError(
            path, f"labels.codes.{code}", "numbers or #rrggbb", "correct the table"
        ) from None
