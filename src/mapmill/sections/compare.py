"""Runs side by side on the same test pixels."""

from typing import Annotated

from pydantic import Field

from mapmill.sections.base import Distinct, Name, Section


class Compare(Section):
    """One comparison."""

    runs: Annotated[list[Name], Distinct] = Field(min_length=1)
    """Runs of this area, in the order of the table. A run that differs before training learns from
    another area (`train_on`) and is scored here."""
    folds: bool = False
    """Train each run once for every fold of `select.split.folds`: that fold is the test part, the
    next one validation, the others training. By default each run's own models, on the test part."""
