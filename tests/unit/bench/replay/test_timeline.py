"""The script of a replay and its slices of event time."""

from datetime import timedelta
from itertools import pairwise

from bench.replay.facts import Trading
from bench.replay.timeline import Script, slices, write_script
from bench.replay.views import VIEWS_PER_ORDER_MAX, derive_views

HOUR = timedelta(hours=1)


class TestSlices:
    def test_play_everything_once_and_in_order(self, script: Script) -> None:
        played = list(slices(script))

        assert all(earlier.begins_at < later.begins_at for earlier, later in pairwise(played))
        assert [sale for part in played for sale in part.sales] == list(script.sales)
        assert [view for part in played for view in part.views] == list(script.views)
        goods_back = [back for part in played for back in part.goods_back]
        assert goods_back == list(script.matching.goods_back)
        deliveries = [item for part in played for item in part.deliveries]
        assert deliveries == list(script.supply.later)

    def test_hold_only_what_happens_within_their_hour(self, script: Script) -> None:
        for part in slices(script):
            moments = [sale.placed_at for sale in part.sales]
            assert all(part.begins_at <= at < part.begins_at + HOUR for at in moments)


class TestWriteScript:
    def test_names_a_shortened_replay_differently(self, sample: Trading) -> None:
        short = write_script(sample, dataset="sample", orders_max=50)

        assert short.dataset == "sample-50"
        assert len(short.sales) == 50
        assert {back.sale for back in short.matching.goods_back} <= {sale.invoice for sale in short.sales}

    def test_keeps_the_name_when_nothing_is_cut(self, sample: Trading) -> None:
        whole = write_script(sample, dataset="sample", orders_max=len(sample.sales))

        assert whole.dataset == "sample"


class TestViews:
    def test_come_before_their_order(self, script: Script) -> None:
        placed_at = {f"session-{sale.invoice}": sale.placed_at for sale in script.sales}

        assert all(view.occurred_at < placed_at[view.session] for view in script.views)

    def test_look_only_at_products_on_sale(self, script: Script) -> None:
        on_sale = {product.sku for product in script.products}

        assert {view.sku for view in script.views} <= on_sale

    def test_are_few_for_each_order(self, script: Script) -> None:
        seen: dict[str, int] = {}
        for view in script.views:
            seen[view.session] = seen.get(view.session, 0) + 1

        # The last line looked at may bring a neighbour along.
        assert max(seen.values()) <= VIEWS_PER_ORDER_MAX + 1

    def test_are_the_same_every_time(self, script: Script) -> None:
        again = derive_views(script.sales, script.products, seed=script.dataset)

        assert again == script.views
