"""Choosing figures by name."""

import pytest

from bench.speed.figures import FIGURES, UnknownFigure, chosen


def test_without_names_every_figure_is_measured() -> None:
    assert list(chosen("")) == list(FIGURES)


def test_names_are_separated_by_commas_or_spaces_and_keep_the_order_of_measuring() -> None:
    assert list(chosen("hot-sku, stock-events")) == ["stock-events", "hot-sku"]


def test_a_name_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownFigure, match="no figure flash-sale: there are stock-events"):
        chosen("hot-sku flash-sale")
