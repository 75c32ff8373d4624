"""Which purchases a cancellation takes back."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bench.replay.facts import Cancellation, Sale, TradedLine, Trading
from bench.replay.matching import GoodsBack, bought_quantities, match_cancellations

MORNING = datetime(2011, 5, 3, 9, 0, tzinfo=UTC)


def a_sale(invoice: str, *lines: tuple[str, int], hour: int = 0, customer: str = "ada") -> Sale:
    return Sale(
        invoice=invoice,
        customer=customer,
        country="United Kingdom",
        placed_at=MORNING + timedelta(hours=hour),
        lines=tuple(TradedLine(sku, quantity, 100) for sku, quantity in lines),
    )


def a_cancellation(invoice: str, *lines: tuple[str, int], hour: int = 10, customer: str = "ada") -> Cancellation:
    return Cancellation(
        invoice=invoice,
        customer=customer,
        cancelled_at=MORNING + timedelta(hours=hour),
        lines=tuple(TradedLine(sku, quantity, 100) for sku, quantity in lines),
    )


class TestMatchCancellations:
    def test_takes_the_latest_earlier_purchase(self) -> None:
        sales = [
            a_sale("1", ("LAMP", 5), hour=0),
            a_sale("2", ("LAMP", 5), hour=1),
            a_sale("3", ("LAMP", 5), hour=11),
        ]

        matching = match_cancellations(sales, [a_cancellation("C4", ("LAMP", 3))])

        (back,) = matching.goods_back
        assert (back.sale, back.quantities, back.is_whole) == ("2", {"LAMP": 3}, False)

    def test_splits_over_several_purchases_and_counts_the_rest(self) -> None:
        sales = [a_sale("1", ("LAMP", 5)), a_sale("2", ("LAMP", 5), hour=1)]

        matching = match_cancellations(sales, [a_cancellation("C3", ("LAMP", 12))])

        assert {back.sale: back.quantities for back in matching.goods_back} == {
            "2": {"LAMP": 5},
            "1": {"LAMP": 5},
        }
        assert (matching.matched_units, matching.unmatched_units) == (10, 2)

    def test_adds_up_lines_of_one_sku(self) -> None:
        sales = [a_sale("1", ("LAMP", 5), ("LAMP", 1))]

        matching = match_cancellations(sales, [a_cancellation("C2", ("LAMP", 2), ("LAMP", 4))])

        (back,) = matching.goods_back
        assert back.quantities == {"LAMP": 6}
        assert back.is_whole

    def test_is_not_whole_when_another_sku_stays(self) -> None:
        sales = [a_sale("1", ("LAMP", 5), ("MIRROR", 1))]

        matching = match_cancellations(sales, [a_cancellation("C2", ("LAMP", 5))])

        assert not matching.goods_back[0].is_whole

    def test_never_takes_from_another_customer(self) -> None:
        sales = [a_sale("1", ("LAMP", 5), customer="ben")]

        matching = match_cancellations(sales, [a_cancellation("C2", ("LAMP", 5))])

        assert matching.goods_back == ()
        assert matching.unmatched_cancellations == 1

    def test_counts_a_sale_of_the_same_minute_as_earlier(self) -> None:
        sales = [a_sale("1", ("LAMP", 5), hour=10)]

        matching = match_cancellations(sales, [a_cancellation("C2", ("LAMP", 5), hour=10)])

        assert matching.matched_units == 5

    @given(
        sales=st.lists(
            st.builds(
                a_sale,
                st.integers(1, 10**6).map(str),
                st.tuples(st.sampled_from(["LAMP", "MIRROR"]), st.integers(1, 9)),
                st.tuples(st.sampled_from(["LAMP", "CLOCK"]), st.integers(1, 9)),
                hour=st.integers(0, 20),
                customer=st.sampled_from(["ada", "ben"]),
            ),
            max_size=12,
            unique_by=lambda sale: sale.invoice,
        ),
        cancellations=st.lists(
            st.builds(
                a_cancellation,
                st.integers(1, 10**6).map("C{}".format),
                st.tuples(st.sampled_from(["LAMP", "MIRROR", "CLOCK"]), st.integers(1, 30)),
                hour=st.integers(0, 20),
                customer=st.sampled_from(["ada", "ben"]),
            ),
            max_size=12,
            unique_by=lambda cancellation: cancellation.invoice,
        ),
    )
    def test_never_takes_back_more_than_was_bought(self, sales: list[Sale], cancellations: list[Cancellation]) -> None:
        matching = match_cancellations(sales, cancellations)

        assert_nothing_is_taken_twice(sales, matching.goods_back)
        cancelled = sum(line.quantity for item in cancellations for line in item.lines)
        assert matching.matched_units + matching.unmatched_units == cancelled
        placed_at = {sale.invoice: sale.placed_at for sale in sales}
        assert all(placed_at[back.sale] <= back.at for back in matching.goods_back)

    def test_holds_on_the_sample(self, sample: Trading) -> None:
        matching = match_cancellations(sample.sales, sample.cancellations)

        assert_nothing_is_taken_twice(sample.sales, matching.goods_back)
        assert matching.matched_units + matching.unmatched_units == -sample.cancelled.units
        # Four of five cancelled units were bought within the two months.
        assert matching.matched_units == 8_798
        assert matching.unmatched_units == 2_474


def assert_nothing_is_taken_twice(sales: Sequence[Sale], goods_back: Sequence[GoodsBack]) -> None:
    taken: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for back in goods_back:
        taken[back.sale].update(back.quantities)
    bought = {sale.invoice: bought_quantities(sale) for sale in sales}
    assert all(quantities <= bought[invoice] for invoice, quantities in taken.items())
