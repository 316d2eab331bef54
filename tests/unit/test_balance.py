"""Which loss is recommended for which balance of classes."""

import pytest

from mapmill.balance import advise, training_pixels
from mapmill.errors import ContractError
from mapmill.losses import TERMS, Shape
from mapmill.sections.loss import LOSSES, LossShape, loss_terms


@pytest.mark.parametrize(
    ("pixels", "loss", "weights"),
    [
        ([100, 120, 90], "cross-entropy", "none"),
        ([1000, 120, 90], "cross-entropy", "sqrt-inverse"),
        ([98_000, 2_000], "cross-entropy+dice", "sqrt-inverse"),
        ([98_000, 0, 50_000], "cross-entropy", "none"),
    ],
)
def test_rarer_classes_get_more_help(pixels, loss, weights):
    """Otherwise floods and landslides would be learnt with a loss that forgets them."""
    advice = advise(pixels)
    assert (advice.loss, advice.class_weights) == (loss, weights)
    assert loss_terms(advice.loss)


def test_a_missing_table_is_one_line(tmp_path):
    """Otherwise someone who asks before select has run would read a traceback."""
    with pytest.raises(ContractError, match="run select"):
        training_pixels(None, tmp_path / "tiles.csv")


def test_settings_and_formulas_agree():
    """Otherwise a loss could be chosen that is not there, or with other numbers than said."""
    assert set(LOSSES) == set(TERMS)
    assert Shape(**LossShape().as_numbers()) == Shape()


def test_a_sum_is_read_with_its_factors():
    """Otherwise 0.7*focal + 0.3*jaccard would weigh both alike."""
    assert loss_terms("0.7*focal + .3*jaccard+dice") == {"focal": 0.7, "jaccard": 0.3, "dice": 1.0}
