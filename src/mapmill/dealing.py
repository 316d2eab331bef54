"""Dealing out parts and folds: to tiles, squares, chips or groups of them."""

from collections.abc import Sequence

import numpy as np

from mapmill.errors import ConfigError
from mapmill.sections import SPLITS, Split

Given = tuple[str, int | None]
"""Part and fold of one thing."""


def deal(split: Split, count: int, *salt: int) -> list[Given]:
    """Part and fold of each of `count` things, shuffled by the split's seed.

    Parts in the asked proportions, each that is asked for gets one at least; or equal folds.

    Parameters
    ----------
    salt : numbers that make this deal another one than that of the same split elsewhere
    """
    random = np.random.default_rng((split.seed, *salt) if salt else split.seed)
    order = random.permutation(count)
    if split.folds:
        folds = np.arange(count) % split.folds
        return [(_part_of_fold(split, int(fold)), int(fold)) for fold in folds[np.argsort(order)]]
    dealt = [""] * count
    for place, name in zip(order, _shares(split, count), strict=True):
        dealt[place] = name
    return [(part, None) for part in dealt]


def _part_of_fold(split: Split, fold: int) -> str:
    after = (fold - split.fold) % (split.folds or 1)
    return {0: "test", 1: "val"}.get(after, "train")


def _shares(split: Split, count: int) -> list[str]:
    """As many names of parts as there are things, in order."""
    shares = np.array([split.train, split.val, split.test])
    numbers = np.floor(shares * count + 1e-9).astype(int)
    for index in np.argsort(numbers - shares * count, kind="stable")[: count - numbers.sum()]:
        numbers[index] += 1  # the largest remainders get what is left
    for index in np.flatnonzero((numbers == 0) & (shares > 0)):
        if numbers.max() > 1:
            numbers[numbers.argmax()] -= 1
            numbers[index] = 1
    return [name for name, number in zip(SPLITS, numbers, strict=True) for _ in range(number)]


def deal_groups(split: Split, values: Sequence[str], what: str) -> list[Given]:
    """Part and fold of things by their value: all of one value together.

    Values that are train, val and test say the part themselves.

    Raises
    ------
    ConfigError
        if some values are parts and others not, or there are fewer values than parts.
    """
    groups = sorted(set(values))
    parts = [value for value in groups if value in SPLITS]
    if parts == groups and groups:
        return [(value, None) for value in values]
    if parts:
        others = ", ".join(value for value in groups if value not in SPLITS)
        raise ConfigError(
            "select.split.column",
            f"{what} {', '.join(parts)} and also {others}",
            "train, val and test alone, or none of them",
            "correct the column",
        )
    enough(split, len(groups), f"values of {what}")
    given = dict(zip(groups, deal(split, len(groups)), strict=True))
    return [given[value] for value in values]


def deal_strata(split: Split, values: Sequence[str], what: str, remedy: str) -> list[Given]:
    """Part and fold of things, dealt out stratum by stratum: each part gets its share of each.

    Raises
    ------
    ConfigError
        if a stratum has fewer things than there are parts.
    """
    dealt: list[Given] = [("", None)] * len(values)
    for stratum in sorted(set(values)):
        members = [index for index, value in enumerate(values) if value == stratum]
        enough(split, len(members), f"{what} {stratum}", remedy)
        for index, given in zip(members, deal(split, len(members)), strict=True):
            dealt[index] = given
    return dealt


def enough(
    split: Split,
    count: int,
    what: str,
    remedy: str = "use method: random, which deals out tiles, or fewer parts",
) -> None:
    """Refuse to deal fewer things than there are parts or folds."""
    parts = sum(share > 0 for share in (split.train, split.val, split.test))
    needed = split.folds or parts
    if count < needed:
        kind = "fold" if split.folds else "part"
        raise ConfigError(
            "select.split", f"{count} {what}", f"at least {needed}, one for each {kind}", remedy
        )


def chip_parts(
    split: Split, chips: list[str], columns: dict[str, dict[str, str]]
) -> dict[str, Given]:
    """Part and fold of each chip.

    Parameters
    ----------
    columns : values by chip of the columns that the split names
    """
    if split.column:
        values = [columns[split.column][chip] for chip in chips]
        dealt = deal_groups(split, values, split.column)
    elif split.strata:
        values = [columns[split.strata][chip] for chip in chips]
        remedy = "use method: random, which deals out tiles, or fewer parts"
        dealt = deal_strata(split, values, f"chips with {split.strata}", remedy)
    else:
        enough(split, len(chips), "chips")
        dealt = deal(split, len(chips))
    return dict(zip(chips, dealt, strict=True))
