"""What rows mean, and that none is lost on the way."""

from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.replay.facts import Exclusion, Trading, exclusion, interpret
from bench.replay.rows import SourceRow
from tests.unit.bench.replay.rows_of import a_row

# Computed from the full file by other means than the code under test.
SAMPLE_VALUE = Decimal("1414456.63")

ANY_ROW = st.builds(
    a_row,
    invoice=st.from_regex(r"[AC]?55000[0-9]", fullmatch=True),
    stock_code=st.sampled_from(["85123A", "85123a", "22423", "POST", "M", "23444", "DCGS0076"]),
    description=st.sampled_from(["", "OMINOUS MIRROR", "ominous  mirror"]),
    quantity=st.integers(-200, 200),
    unit_price=st.sampled_from(["-11062.06", "0", "0.001", "0.29", "2.55", "38970.00"]),
    customer=st.sampled_from(["", "17850", "12583"]),
)


class TestExclusion:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            pytest.param(a_row(), None, id="a sale"),
            pytest.param(a_row(invoice="C550001", quantity=-2), None, id="a cancellation"),
            pytest.param(a_row(stock_code="85123a"), None, id="lower-case product code"),
            pytest.param(a_row(stock_code="15056BL"), None, id="two letters"),
            pytest.param(a_row(invoice="A563185", stock_code="B"), Exclusion.ACCOUNTING, id="bad debt"),
            pytest.param(a_row(stock_code="POST"), Exclusion.NOT_GOODS, id="postage"),
            pytest.param(a_row(stock_code="BANK CHARGES"), Exclusion.NOT_GOODS, id="bank charges"),
            pytest.param(a_row(stock_code="gift_0001_20"), Exclusion.NOT_GOODS, id="voucher"),
            pytest.param(a_row(stock_code="DCGS0076"), Exclusion.NOT_GOODS, id="letters first"),
            pytest.param(a_row(stock_code="23444"), Exclusion.NOT_GOODS, id="carriage as product"),
            pytest.param(a_row(quantity=-90, unit_price="0"), Exclusion.STOCK_ADJUSTMENT, id="damaged"),
            pytest.param(a_row(unit_price="0"), Exclusion.NO_PRICE, id="free"),
            pytest.param(a_row(quantity=-1), Exclusion.UNEXPECTED_QUANTITY, id="negative sale"),
            pytest.param(a_row(invoice="C550001"), Exclusion.UNEXPECTED_QUANTITY, id="positive cancellation"),
        ],
    )
    def test_names_the_reason(self, row: SourceRow, reason: Exclusion | None) -> None:
        assert exclusion(row) is reason


class TestInterpret:
    def test_keeps_equal_lines_apart(self) -> None:
        trading = interpret([a_row(), a_row()])

        (sale,) = trading.sales
        assert [line.quantity for line in sale.lines] == [2, 2]
        assert sale.total_minor == 1020

    def test_reads_summer_times_as_british(self) -> None:
        trading = interpret([a_row(invoiced_at="2011-05-03 10:15")])

        assert trading.sales[0].placed_at == datetime(2011, 5, 3, 9, 15, tzinfo=UTC)

    def test_reads_winter_times_as_british(self) -> None:
        trading = interpret([a_row(invoiced_at="2011-12-05 10:15")])

        assert trading.sales[0].placed_at == datetime(2011, 12, 5, 10, 15, tzinfo=UTC)

    def test_takes_the_earlier_of_two_times(self) -> None:
        trading = interpret([a_row(invoiced_at="2011-05-03 10:16"), a_row(invoiced_at="2011-05-03 10:15")])

        assert trading.sales[0].placed_at == datetime(2011, 5, 3, 9, 15, tzinfo=UTC)

    def test_gives_every_guest_a_name_of_the_invoice(self) -> None:
        trading = interpret([a_row(customer=""), a_row(invoice="550002", customer="")])

        assert [sale.customer for sale in trading.sales] == ["guest-550001", "guest-550002"]

    @pytest.mark.parametrize(
        ("price", "minor"),
        [
            pytest.param("0.29", 29, id="not a binary fraction"),
            pytest.param("2.55", 255, id="two decimals"),
            pytest.param("0.125", 12, id="half goes down to even"),
            pytest.param("0.135", 14, id="half goes up to even"),
        ],
    )
    def test_rounds_prices_half_even(self, price: str, minor: int) -> None:
        trading = interpret([a_row(unit_price=price)])

        assert trading.sales[0].lines[0].unit_price_minor == minor

    def test_orders_facts_by_time(self) -> None:
        trading = interpret(
            [
                a_row(invoice="550002", invoiced_at="2011-05-04 09:00"),
                a_row(invoice="550001", invoiced_at="2011-05-03 09:00"),
            ]
        )

        assert [sale.invoice for sale in trading.sales] == ["550001", "550002"]

    @given(rows=st.lists(ANY_ROW, max_size=40))
    def test_loses_no_row_and_no_money(self, rows: list[SourceRow]) -> None:
        trading = interpret(rows)

        tallies = [trading.sold, trading.cancelled, *trading.excluded.values()]
        assert sum(tally.lines for tally in tallies) == len(rows)
        assert sum(tally.units for tally in tallies) == sum(row.quantity for row in rows)
        assert trading.value == sum((row.value for row in rows), Decimal(0))

    @given(rows=st.lists(ANY_ROW, max_size=40), order=st.randoms(use_true_random=False))
    def test_does_not_depend_on_how_invoices_are_interleaved(self, rows: list[SourceRow], order: Random) -> None:
        shuffled = list(rows)
        order.shuffle(shuffled)

        one, other = interpret(rows), interpret(shuffled)

        assert [sale.invoice for sale in one.sales] == [sale.invoice for sale in other.sales]
        assert one.excluded == other.excluded
        assert one.descriptions == other.descriptions


class TestSample:
    def test_conserves_the_money(self, sample: Trading) -> None:
        assert sample.value == SAMPLE_VALUE
        # Goods have no third decimal, so that pence hold their whole value.
        assert sum(sale.total_minor for sale in sample.sales) == sample.sold.value * 100

    def test_holds_enough_orders_and_their_cancellations(self, sample: Trading) -> None:
        assert len(sample.sales) == 3_193
        assert sample.sold.lines == 71_738
        assert len(sample.cancellations) == 566
        assert sample.cancelled.lines == 1_227

    def test_counts_what_is_left_out(self, sample: Trading) -> None:
        assert {reason: tally.lines for reason, tally in sample.excluded.items()} == {
            Exclusion.NOT_GOODS: 512,
            Exclusion.NO_PRICE: 203,
            Exclusion.STOCK_ADJUSTMENT: 224,
        }
