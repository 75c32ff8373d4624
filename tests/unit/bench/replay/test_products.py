"""The catalog that the sales imply."""

from collections import Counter

import pytest

from bench.replay.facts import interpret
from bench.replay.products import CATEGORIES, OTHER_CATEGORY, category_of, products
from bench.replay.timeline import Script
from tests.unit.bench.replay.rows_of import a_row


class TestCategoryOf:
    @pytest.mark.parametrize(
        ("name", "slug"),
        [
            pytest.param("JUMBO BAG RED RETROSPOT", "bags", id="one keyword"),
            pytest.param("PAPER CHAIN KIT 50'S CHRISTMAS", "christmas", id="occasion before shape"),
            pytest.param("SET OF 6 T-LIGHTS SANTA", "christmas", id="occasion before material"),
            pytest.param("SET OF 9 T-LIGHTS", "candles-and-lights", id="hyphenated plural"),
            pytest.param("REGENCY CAKESTAND 3 TIER", "kitchen", id="compound"),
            pytest.param("white hanging heart", "home-decor", id="lower case"),
            pytest.param("SOMBRERO", "other", id="no keyword"),
        ],
    )
    def test_finds_the_shelf(self, name: str, slug: str) -> None:
        assert category_of(name).slug == slug


class TestProducts:
    def test_take_the_commonest_name_and_price(self) -> None:
        trading = interpret(
            [
                a_row(description="MIRROR", unit_price="2.55"),
                a_row(description="OMINOUS  MIRROR", unit_price="2.10"),
                a_row(description="OMINOUS MIRROR", unit_price="2.55"),
            ]
        )

        (product,) = products(trading.sales, trading.descriptions)

        assert (product.name, product.price_minor) == ("OMINOUS MIRROR", 255)

    def test_are_named_by_their_sku_for_want_of_a_name(self) -> None:
        trading = interpret([a_row(description="")])

        (product,) = products(trading.sales, trading.descriptions)

        assert product.name == "85123A"

    def test_cover_every_line_of_the_sample(self, script: Script) -> None:
        sold = {line.sku for sale in script.sales for line in sale.lines}

        assert {product.sku for product in script.products} == sold
        assert all(product.price_minor > 0 for product in script.products)

    def test_fill_every_category_of_the_sample(self, script: Script) -> None:
        shelves = Counter(product.category for product in script.products)

        assert set(shelves) == {category.slug for category in (*CATEGORIES, OTHER_CATEGORY)}
        assert shelves["other"] < len(script.products) / 10
