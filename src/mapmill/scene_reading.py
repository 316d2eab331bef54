"""One scene on the grid, part by part: its bands, offset and detail, and what its mask tells."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapmill import observe
from mapmill.catalogue.items import Asset, Scene
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.observe import EMPTY, KINDS, States
from mapmill.pansharpen import brovey
from mapmill.raster import OUTSIDE, Array, OnGrid, on_grid

LARGEST = 2**16 - 1


@dataclass(frozen=True)
class Observation:
    """What one scene shows of one part of a block."""

    window: Window
    image_BYX: Array
    """(band, y, x) in the area's dtype."""
    state_YX: States
    """EMPTY wherever any band has no data (see `observe`)."""


@dataclass(frozen=True)
class _File:
    """Bands of one file, and which of the measured bands they are."""

    reader: OnGrid
    offset: int
    places: list[int]


class SceneReader:
    """Reads one scene of a period onto the parts of one block, with files open until `close`.

    `begin` tells what is to be read of a part; after its jobs have run, `finish` gives the part.
    """

    def __init__(self, area: Area, scene: Scene, folder: Path, block: Window) -> None:
        self.chosen, self.grid = area.compose, area.the_grid()
        self.scene, self.folder, self.block = scene, folder, block
        self._stack = ExitStack()
        self._files: list[_File] = []
        self._mask: OnGrid | None = None
        self._table = np.zeros(0, np.uint8)

    def close(self) -> None:
        """Close the files; `begin` opens them again."""
        self._stack.close()
        self._files, self._mask = [], None

    def begin(self, window: Window) -> list[Callable[[], None]]:
        """What is to be read of a part, each by one call, in any order and in any thread."""
        if not self._files:
            self._open()
        shape = (len(self.chosen.measured), window.height, window.width)
        self._window = window
        self._image_BYX = np.empty(shape, self.chosen.dtype)
        self._valid: list[Array] = []
        self._codes_YX: Array | None = None
        jobs = [functools.partial(self._read, file) for file in self._files]
        return [*jobs, self._read_mask] if self._mask else [*jobs]

    def finish(self) -> Observation:
        """The part, when all that `begin` asked for is read."""
        image_BYX, valid_YX = self._image_BYX, self._valid[0]
        for other_YX in self._valid[1:]:
            valid_YX &= other_YX
        state_YX: States = valid_YX.view(np.uint8)  # CLEAR is 1
        if self._codes_YX is not None:
            state_YX = self._masked(image_BYX, state_YX, self._codes_YX)
        self._sharpen(image_BYX)
        return Observation(self._window, image_BYX[: len(self.chosen.bands)], state_YX)

    # --------------------------------------------------------------------------------- files
    def _open(self) -> None:
        found: dict[str, tuple[Asset, list[int], list[int]]] = {}
        for place, band in enumerate(self.chosen.measured):
            asset, number = self._find(band)
            _, numbers, places = found.setdefault(asset.key, (asset, [], []))
            numbers.append(number)
            places.append(place)
        for asset, numbers, places in found.values():
            opened = on_grid(
                self.folder / asset.file_name,
                numbers,
                self.grid,
                self.block,
                nodata=self.chosen.nodata,
                resampling="nearest" if asset.is_classes else self.chosen.resampling,
                dtype="float32" if self.chosen.dtype == "float32" else None,
                told=asset.nodata,
            )
            reader = self._stack.enter_context(opened)
            self._files.append(_File(reader, asset.offset, places))
        if self.chosen.mask:
            self._open_mask(self.chosen.mask.band_name, self.chosen.mask.grow)

    def _open_mask(self, band: str, grow: int) -> None:
        asset, number = self._find(band)
        self._mask = self._stack.enter_context(
            on_grid(
                self.folder / asset.file_name,
                [number],
                self.grid,
                self.block.grow(grow),  # a cloud beside the block reaches into it
                nodata=OUTSIDE,
                told=asset.nodata,
                codes=True,
            )
        )
        assert self.chosen.mask is not None
        self._table = observe.table(self.chosen.mask.codes(), self._mask.declared)

    def _find(self, band: str) -> tuple[Asset, int]:
        place = self.scene.find(band)
        if place is None:
            raise ContractError(f"scene {self.scene.id}", "no such band", band, "rerun search")
        return place

    # ------------------------------------------------------------------------------- reading
    def _read(self, file: _File) -> None:
        first, number = file.places[0], len(file.places)
        target_BYX = self._image_BYX[first : first + number]
        is_run = file.places == list(range(first, first + number))
        if is_run and file.reader.dtype == target_BYX.dtype:
            values_BYX = file.reader.read(self._window, target_BYX)
        else:
            values_BYX = file.reader.read(self._window)
        for place, values_YX in zip(file.places, values_BYX, strict=True):
            target_YX = self._image_BYX[place]
            without = without_offset(values_YX, file.offset, self.chosen.nodata)
            if without is not values_YX or not np.may_share_memory(values_YX, target_YX):
                target_YX[:] = _converted(without, self.chosen.dtype, file.reader.path)
            if target_YX.dtype.kind == "f":  # such as the logarithm of 0
                np.copyto(target_YX, np.nan, where=np.isinf(target_YX))
            self._valid.append(_has_data(target_YX, self.chosen.nodata))

    def _read_mask(self) -> None:
        assert self._mask is not None and self.chosen.mask is not None
        self._codes_YX = self._mask.read(self._window.grow(self.chosen.mask.grow))[0]

    def _masked(self, image_BYX: Array, state_YX: States, code_YX: Array) -> States:
        """The states that the mask tells; what it removes leaves no single bands behind."""
        assert self._mask is not None and self.chosen.mask is not None
        chosen = self.chosen.mask
        try:
            told_YX = observe.states(code_YX, self._table, OUTSIDE)
        except ValueError as error:
            raise ContractError(
                self._mask.path,
                f"values {error}",
                "values that compose.mask lists",
                "list them as clear, cloud, snow or nodata",
            ) from None
        told_YX = observe.grown(told_YX, chosen.grow)
        inner = slice(chosen.grow, -chosen.grow or None)
        told_YX = told_YX[inner, inner]
        result_YX = np.where(state_YX == EMPTY, np.uint8(EMPTY), told_YX)
        gone = np.isin(np.arange(4), [EMPTY, *(KINDS[kind] for kind in chosen.remove)])
        hidden_YX = (result_YX == EMPTY) & gone[told_YX]
        if hidden_YX.any():
            np.copyto(image_BYX, self.chosen.nodata, where=hidden_YX, casting="unsafe")
        return result_YX

    def _sharpen(self, image_BYX: Array) -> None:
        chosen, bands = self.chosen.pansharpen, self.chosen.bands
        if chosen is None:
            return
        places = [bands.index(band) for band in chosen.the_bands(bands)]
        sharp_BYX = image_BYX[places]
        pan_YX = image_BYX[self.chosen.measured.index(chosen.pan)]
        brovey(sharp_BYX, pan_YX, chosen.the_weights(bands), self.chosen.nodata)
        image_BYX[places] = sharp_BYX


def without_offset(values_YX: Array, offset: int, nodata: float) -> Array:
    """Add a scene's offset to its valid pixels; what falls below 1, the darkest value, is 1.

    0 is nodata, so a dark pixel must not become it. Where the offset is 0 the values themselves
    are returned, otherwise new ones.
    """
    if offset == 0:
        return values_YX
    valid_YX = _has_data(values_YX, nodata)
    if np.isnan(nodata):
        return np.where(valid_YX, values_YX + offset, values_YX)
    if values_YX.dtype == np.uint16 and -LARGEST < offset < 0:  # within the type, and quicker
        darkest = np.uint16(1 - offset)
        return (np.maximum(values_YX, darkest) - np.uint16(-offset)) * valid_YX
    return np.where(valid_YX, np.maximum(values_YX.astype(np.int32) + offset, 1), values_YX)


def _converted(values_YX: Array, dtype: str, path: Path) -> Array:
    """The same numbers in the area's dtype, or an error where that would change them."""
    if values_YX.dtype == dtype:
        return values_YX
    whole = np.issubdtype(values_YX.dtype, np.integer)
    if dtype == "uint16" and not (whole and values_YX.min() >= 0 and values_YX.max() <= LARGEST):
        raise ContractError(
            path,
            f"{values_YX.dtype} values {values_YX.min()} to {values_YX.max()}",
            "whole numbers 0 to 65535",
            "set compose.dtype: float32",
        )
    return values_YX.astype(dtype)


def _has_data(values_YX: Array, nodata: float) -> Array:
    return np.asarray(~np.isnan(values_YX) if np.isnan(nodata) else values_YX != nodata)
