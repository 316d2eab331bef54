"""The table of candidate tiles: how it is written and read."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapmill.atomic import whole_file
from mapmill.errors import ContractError
from mapmill.grid import Window

FIELDS = ["tile", "period", "chip", "row", "col", "size", "valid"]
FIELDS += ["cloud", "snow", "labelled", "split", "fold", "dropped"]
REMEDY = "delete it and rerun"


@dataclass(frozen=True)
class Tile:
    """One candidate tile of the grid in one period, or of one chip."""

    period: str
    """'' for a chip."""
    chip: str
    """'' for a grid."""
    window: Window
    valid: float
    """Share of pixels with data in every band."""
    cloud: float
    """Share of pixels under clouds or their shadow; 0 for a chip."""
    snow: float
    """Share of pixels under snow; 0 for a chip."""
    labelled: float
    """Share of pixels with a class."""
    split: str
    """train, val or test: the part of the area it lies in; '' where it lies in none."""
    fold: int | None
    """Number of its fold, where there are folds."""
    dropped: str
    """Why it is not packed; '' if it is."""
    counts: tuple[int, ...]
    """Pixels of class 1 to K."""

    @property
    def name(self) -> str:
        """Row and column of its north-western pixel, after the chip's name."""
        return f"{self.chip}{'-' * bool(self.chip)}y{self.window.row}x{self.window.col}"

    @property
    def size(self) -> int:
        """Its side, in pixels."""
        return self.window.height

    @property
    def piece(self) -> str:
        """What it is cut from: the period, or the chip."""
        return self.chip or self.period


def write_tiles(path: Path, tiles: Sequence[Tile], classes: int) -> None:
    """Write the table."""
    counts = [f"class_{value}" for value in range(1, classes + 1)]
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(FIELDS + counts)
        for t in tiles:
            w = t.window
            shares = [f"{share:.6f}" for share in (t.valid, t.cloud, t.snow, t.labelled)]
            fold = "" if t.fold is None else t.fold
            row = [t.name, t.period, t.chip, w.row, w.col, w.height, *shares]
            rows.writerow([*row, t.split, fold, t.dropped, *t.counts])


def read_tiles(path: Path) -> list[Tile]:
    """Read the table.

    Raises
    ------
    ContractError
        if it has other columns, or is not as it was written.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except FileNotFoundError:
        raise ContractError(path, "no such file", "the table of tiles", "run select") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ContractError(path, str(error), "the table of tiles", REMEDY) from None
    if not rows or rows[0][: len(FIELDS)] != FIELDS:
        raise ContractError(path, "other columns", ", ".join(FIELDS), REMEDY)
    try:
        if not text.endswith("\n") or {len(row) for row in rows} != {len(rows[0])}:
            raise ValueError("a row that is cut off")
        return [_tile(row) for row in rows[1:]]
    except ValueError as error:
        raise ContractError(path, str(error), "a whole table of tiles", REMEDY) from None


def scored_chips(tiles: Sequence[Tile]) -> list[str]:
    """Names of the chips that hold tiles of the validation or test part, in order."""
    return list(dict.fromkeys(tile.chip for tile in tiles if tile.split in ("val", "test")))


def _tile(row: list[str]) -> Tile:
    _, period, chip, top, left, size, valid, cloud, snow, labelled, *rest = row
    split, fold, dropped, *counts = rest
    window = Window(int(top), int(left), int(size), int(size))
    shares = float(valid), float(cloud), float(snow), float(labelled)
    place = split, int(fold) if fold else None, dropped
    pixels = tuple(int(count) for count in counts)
    return Tile(period, chip, window, *shares, *place, pixels)
