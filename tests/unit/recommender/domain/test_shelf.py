import random

from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.ranking import Obstacle
from services.recommender.domain.shelf import Shelf


def shelf_with(sku: str, *, units: int) -> Shelf:
    shelf = Shelf()
    shelf.set_listed(sku, is_listed=True, version=1)
    shelf.set_available(sku, units, version=1)
    return shelf


class TestShelf:
    def test_offers_what_is_listed_and_in_stock(self) -> None:
        assert shelf_with("LAMP", units=1).obstacle("LAMP") is None

    def test_knows_what_is_sold_out(self) -> None:
        assert shelf_with("LAMP", units=0).obstacle("LAMP") is Obstacle.OUT_OF_STOCK

    def test_takes_what_it_never_heard_of_for_unlisted(self) -> None:
        assert Shelf().obstacle("LAMP") is Obstacle.NOT_LISTED

    def test_takes_a_listed_product_without_stock_news_for_sold_out(self) -> None:
        shelf = Shelf()
        shelf.set_listed("LAMP", is_listed=True, version=1)

        assert shelf.obstacle("LAMP") is Obstacle.OUT_OF_STOCK

    def test_stops_offering_what_is_delisted(self) -> None:
        shelf = shelf_with("LAMP", units=5)
        shelf.set_listed("LAMP", is_listed=False, version=2)

        assert shelf.obstacle("LAMP") is Obstacle.NOT_LISTED

    @given(st.permutations(range(1, 6)), st.randoms(use_true_random=False))
    def test_ends_with_the_latest_version_in_any_order_and_any_repetition(
        self, versions: list[int], chance: random.Random
    ) -> None:
        shelf = Shelf()
        shelf.set_listed("LAMP", is_listed=True, version=1)
        for version in versions + chance.sample(versions, 3):
            shelf.set_available("LAMP", 0 if version == 5 else 10, version=version)

        assert shelf.obstacle("LAMP") is Obstacle.OUT_OF_STOCK
