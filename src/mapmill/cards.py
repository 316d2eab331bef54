"""A model that is used in an area: read, and refused where it was made for another one."""

from pathlib import Path

from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.nets.model import Card, Net, load_model


def load_fitting(area: Area, path: Path) -> tuple[Net, Card]:
    """Read a model and check that it fits the area.

    Raises
    ------
    ContractError
        if it was trained on other bands, classes or units.
    """
    net, card = load_model(path)
    for what, found, expected in (
        ("bands", card.bands, area.bands),
        ("classes", card.classes, area.class_names),
        ("units", [card.units], [area.compose.units if card.units else ""]),
    ):
        if found != expected:
            raise ContractError(
                path,
                f"{what} {', '.join(found)}",
                f"{', '.join(expected)} as in the area",
                "train again or correct the area file",
            )
    return net, card
