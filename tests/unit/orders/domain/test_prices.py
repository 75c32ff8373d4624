"""Periods of prices follow from what the catalog tells, whatever is told twice or late."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain.findings import Consequence, FindingKind
from services.orders.domain.order import OrderLine
from services.orders.domain.prices import PricePeriod, PricePolicy, check_line, follow_prices

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
LINE = OrderLine(line=2, sku="CHAIR", quantity=3, unit_price_minor=900)


def period(version: int, price_minor: int, *, minutes: int = 0, is_listed: bool = True) -> PricePeriod:
    return PricePeriod(
        sku="CHAIR",
        version=version,
        currency="GBP",
        price_minor=price_minor,
        is_listed=is_listed,
        valid_from=BEGIN + timedelta(minutes=minutes),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[PricePeriod]:
    changes = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(-5, 50), st.booleans()), max_size=12))
    return [
        period(version, price_minor, minutes=minutes, is_listed=is_listed)
        for version, (price_minor, minutes, is_listed) in enumerate(changes, start=1)
    ]


class TestFollowPrices:
    def test_makes_no_period_of_what_changes_no_price(self) -> None:
        followed = follow_prices(period(1, 100), [period(2, 100), period(3, 120), period(4, 120)])

        assert [one.version for one in followed] == [3]

    def test_ends_a_price_when_the_product_is_delisted(self) -> None:
        followed = follow_prices(period(1, 100), [period(2, 100, is_listed=False)])

        assert [(one.version, one.is_listed) for one in followed] == [(2, False)]

    @given(told=histories(), cut=st.integers(0, 12), again=st.integers(0, 12))
    def test_comes_to_the_same_however_it_is_cut_and_repeated(
        self, told: list[PricePeriod], cut: int, again: int
    ) -> None:
        whole = follow_prices(None, told)

        first = follow_prices(None, told[:cut])
        # After a crash the bus tells some of it once more.
        rest = follow_prices(first[-1] if first else None, told[max(0, cut - again) :])

        assert first + rest == whole
        assert all(one.valid_from <= other.valid_from for one, other in pairwise(whole))


class TestCheckLine:
    def test_takes_any_price_of_the_window(self) -> None:
        assert check_line(LINE, [900, 1_000], PricePolicy(on_mismatch=Consequence.REFUSE)) is None

    def test_names_the_latest_price_of_the_window(self) -> None:
        finding = check_line(LINE, [950, 1_000], PricePolicy(on_mismatch=Consequence.HOLD))

        assert finding is not None
        assert (finding.kind, finding.line, finding.sku) == (FindingKind.PRICE_MISMATCH, 2, "CHAIR")
        assert (finding.expected_minor, finding.offered_minor) == (1_000, 900)
        assert finding.consequence is Consequence.HOLD

    def test_tells_an_unknown_price_from_a_wrong_one(self) -> None:
        policy = PricePolicy(on_mismatch=Consequence.IGNORE, on_unknown=Consequence.ACCEPT)

        finding = check_line(LINE, [], policy)

        assert finding is not None
        assert (finding.kind, finding.expected_minor) == (FindingKind.PRICE_UNKNOWN, None)
        assert check_line(LINE, [1_000], policy) is None
