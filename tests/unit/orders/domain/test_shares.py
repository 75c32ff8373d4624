"""Whatever an order costs is shared to the last minor unit, by lines, by parcels and by what comes back."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.shapes import Allocation, SkuQuantity
from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase, TaxRounding
from services.orders.domain.findings import Consequence, FindingKind
from services.orders.domain.order import OrderLine
from services.orders.domain.parcels import value_by_warehouse
from services.orders.domain.prices import PricePolicy
from services.orders.domain.returns import (
    ReceivedUnits,
    Return,
    ReturnStatus,
    lines_to_return,
    receive_return,
    with_shares,
)
from services.orders.domain.shares import (
    DiscountExceedsGoods,
    TotalMismatch,
    UnknownLine,
    apportion,
    check_taxes,
    price,
    tax_of,
)

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ID = UUID(int=1)
NOTED = PricePolicy(on_mismatch=Consequence.ACCEPT)


def line(number: int, quantity: int, unit_price_minor: int, sku: str | None = None) -> OrderLine:
    return OrderLine(line=number, sku=sku or f"SKU-{number}", quantity=quantity, unit_price_minor=unit_price_minor)


def discount(amount_minor: int, *lines: int) -> Charge:
    return Charge(kind=ChargeKind.DISCOUNT, code="TEN", amount_minor=amount_minor, lines=lines)


def shipping(amount_minor: int) -> Charge:
    return Charge(kind=ChargeKind.SHIPPING, code="standard", amount_minor=amount_minor)


def tax(
    amount_minor: int,
    rate_ppm: int = 200_000,
    *lines: int,
    is_inclusive: bool = False,
    base: TaxBase = TaxBase.GOODS,
    rounding: TaxRounding = TaxRounding.ORDER,
) -> Charge:
    rule = Tax(jurisdiction="GB", rate_ppm=rate_ppm, is_inclusive=is_inclusive, base=base, rounding=rounding)
    return Charge(kind=ChargeKind.TAX, code="standard", amount_minor=amount_minor, lines=lines, tax=rule)


@st.composite
def orders(draw: st.DrawFn) -> tuple[tuple[OrderLine, ...], tuple[Charge, ...]]:
    """Draw baskets of few SKUs, with charges of every kind whose discounts leave something of each line."""
    drawn = draw(st.lists(st.tuples(st.integers(1, 7), st.integers(0, 1_000)), min_size=1, max_size=5))
    lines = tuple(line(number, *one, sku=f"SKU-{number % 3}") for number, one in enumerate(drawn, start=1))
    goods = sum(one.quantity * one.unit_price_minor for one in lines)
    subset = st.lists(st.integers(1, len(lines)), max_size=3).map(tuple)
    charges = [discount(draw(st.integers(0, goods)))] if draw(st.booleans()) else []
    charges += [shipping(minor) for minor in draw(st.lists(st.integers(0, 999), max_size=2))]
    for _ in range(draw(st.integers(0, 3))):
        charges.append(
            tax(
                draw(st.integers(0, 999)),
                draw(st.integers(0, 300_000)),
                *draw(subset),
                is_inclusive=draw(st.booleans()),
                base=draw(st.sampled_from(TaxBase)),
            )
        )
    return lines, tuple(charges)


class TestApportion:
    def test_gives_what_is_left_to_the_largest_remainders(self) -> None:
        # 3.33, 3.33 and 3.33 of 10; 0.6, 1.2 and 1.2 of 3.
        assert apportion(10, [1, 1, 1]) == [4, 3, 3]
        assert apportion(3, [1, 2, 2]) == [1, 1, 1]
        assert apportion(5, [0, 0]) == [3, 2]

    @given(amount=st.integers(0, 2**53), weights=st.lists(st.integers(0, 2**53), min_size=1, max_size=20))
    def test_sums_to_the_whole_and_is_nowhere_more_than_one_off(self, amount: int, weights: list[int]) -> None:
        shares = apportion(amount, weights)

        assert sum(shares) == amount
        total = sum(weights)
        if total:
            assert all(
                abs(share * total - amount * weight) < total for share, weight in zip(shares, weights, strict=True)
            )
            assert all(weight or not share for share, weight in zip(shares, weights, strict=True))


class TestPrice:
    def test_adds_what_is_not_in_the_prices_and_takes_discounts_off(self) -> None:
        lines = (line(1, 2, 1_000), line(2, 1, 500))
        charges = (discount(250, 1), shipping(300), tax(410, base=TaxBase.ALL), tax(99, is_inclusive=True))

        priced = price(lines, charges, currency="GBP", total_minor=2_500 - 250 + 300 + 410)

        assert priced.total_minor == 2_960
        assert [one.charged_minor for one in priced.lines] == [2_302, 658]

    def test_leaves_lines_alone_that_bear_nothing(self) -> None:
        lines = (line(1, 2, 1_000),)

        assert price(lines, (), currency="GBP").lines == lines

    @pytest.mark.parametrize(
        ("base", "borne"),
        [(TaxBase.GOODS, [350, 110]), (TaxBase.SHIPPING, [345, 115]), (TaxBase.ALL, [349, 111])],
    )
    def test_lets_lines_bear_a_tax_by_what_it_is_on(self, base: TaxBase, borne: list[int]) -> None:
        charges = (shipping(40), tax(20, 200_000, 1, base=base))

        priced = price((line(1, 3, 100), line(2, 1, 100)), charges, currency="GBP")

        assert [one.charged_minor for one in priced.lines] == borne

    @pytest.mark.parametrize(
        ("currency", "said"),
        [
            ("GBP", "add up to 20.00 GBP, and the total is 19.88 GBP: 0.12 GBP too little"),
            ("JPY", "add up to 2000 JPY, and the total is 1988 JPY: 12 JPY too little"),
            ("KWD", "add up to 2.000 KWD, and the total is 1.988 KWD: 0.012 KWD too little"),
        ],
    )
    def test_names_the_difference_in_the_currency_s_own_digits(self, currency: str, said: str) -> None:
        with pytest.raises(TotalMismatch) as caught:
            price((line(1, 2, 1_000),), (), currency=currency, total_minor=1_988)

        assert said in caught.value.detail
        assert caught.value.field == "/total_minor"

    def test_refuses_what_cannot_be(self) -> None:
        with pytest.raises(DiscountExceedsGoods) as caught:
            price((line(1, 1, 100), line(2, 1, 900)), (discount(50), discount(101, 1)), currency="GBP")
        assert caught.value.field == "/discounts/1/amount_minor"
        with pytest.raises(UnknownLine) as unknown:
            price((line(1, 1, 100),), (shipping(5), tax(1, 0, 2)), currency="GBP")
        assert unknown.value.field == "/taxes/0/lines"

    @given(order=orders())
    def test_lines_bear_the_total_between_them(self, order: tuple[tuple[OrderLine, ...], tuple[Charge, ...]]) -> None:
        lines, charges = order

        priced = price(lines, charges, currency="GBP")

        def sum_of(kind: ChargeKind) -> int:
            return sum(
                one.amount_minor
                for one in charges
                if one.kind is kind and not (one.tax is not None and one.tax.is_inclusive)
            )

        goods = sum(one.quantity * one.unit_price_minor for one in lines)
        expected = goods - sum_of(ChargeKind.DISCOUNT) + sum_of(ChargeKind.SHIPPING) + sum_of(ChargeKind.TAX)
        assert priced.total_minor == expected
        assert sum(one.share_minor(0, one.quantity) for one in priced.lines) == expected
        assert all(one.share_minor(0, one.quantity) >= 0 for one in priced.lines)


class TestTaxes:
    @pytest.mark.parametrize(
        ("base_minor", "rate_ppm", "is_inclusive", "tax_minor"),
        [
            (1_000, 200_000, False, 200),
            (1_200, 200_000, True, 200),
            (1, 500_000, False, 1),
            (100, 88_750, False, 9),
            (0, 200_000, False, 0),
        ],
    )
    def test_is_rounded_half_up(self, base_minor: int, rate_ppm: int, tax_minor: int, *, is_inclusive: bool) -> None:
        rule = Tax(jurisdiction="GB", rate_ppm=rate_ppm, is_inclusive=is_inclusive)

        assert tax_of(base_minor, rule) == tax_minor

    @pytest.mark.parametrize(
        ("charge", "expected"),
        [
            # 10 % of 15 and of 15: 1.5 each, or 3 together; shipping adds 0.5.
            pytest.param(tax(4, 100_000, rounding=TaxRounding.LINE), None, id="by line"),
            pytest.param(tax(3, 100_000), None, id="by order"),
            pytest.param(tax(4, 100_000), 3, id="by order, rounded by line"),
            pytest.param(tax(4, 100_000, base=TaxBase.ALL), None, id="with shipping"),
            pytest.param(tax(1, 100_000, base=TaxBase.SHIPPING), None, id="of shipping"),
            pytest.param(tax(2, 100_000, 2), None, id="of a line"),
        ],
    )
    def test_is_held_against_its_own_rule(self, charge: Charge, expected: int | None) -> None:
        found = list(check_taxes((line(1, 1, 15), line(2, 3, 5)), (shipping(5), charge), NOTED))

        assert [one.expected_minor for one in found] == ([] if expected is None else [expected])
        assert all(one.kind is FindingKind.TAX_MISMATCH for one in found)

    def test_is_on_what_is_left_after_discounts(self) -> None:
        assert not list(check_taxes((line(1, 1, 1_000),), (discount(500), tax(100)), NOTED))


class TestParcelsAndReturns:
    @given(order=orders(), data=st.data())
    def test_parcels_are_worth_the_order(
        self, order: tuple[tuple[OrderLine, ...], tuple[Charge, ...]], data: st.DataObject
    ) -> None:
        priced = price(*order, currency="GBP")
        units: dict[str, int] = {}
        for one in priced.lines:
            units[one.sku] = units.get(one.sku, 0) + one.quantity
        allocations = []
        for sku, quantity in units.items():
            first = data.draw(st.integers(0, quantity))
            allocations += [
                Allocation(warehouse=place, sku=sku, quantity=count)
                for place, count in (("LON", first), ("MAN", quantity - first))
                if count
            ]

        values = value_by_warehouse(priced.lines, allocations)

        assert sum(values.values()) == priced.total_minor

    @given(order=orders(), data=st.data())
    def test_what_comes_back_bit_by_bit_is_refunded_whole(
        self, order: tuple[tuple[OrderLine, ...], tuple[Charge, ...]], data: st.DataObject
    ) -> None:
        lines = list(price(*order, currency="GBP").lines)
        total = sum(one.share_minor(0, one.quantity) for one in lines)
        came = dict.fromkeys((one.line for one in lines), 0)
        refunded = 0
        while any(came[one.line] < one.quantity for one in lines):
            left = {
                sku: sum(one.quantity - came[one.line] for one in lines if one.sku == sku)
                for sku in {one.sku for one in lines}
            }
            sku = data.draw(st.sampled_from(sorted(sku for sku, units in left.items() if units)))
            units = data.draw(st.integers(1, left[sku]))
            returnable = [
                OrderLine(
                    line=one.line,
                    sku=one.sku,
                    quantity=one.quantity,
                    unit_price_minor=one.unit_price_minor,
                    charged_minor=one.charged_minor,
                    returned_quantity=came[one.line],
                )
                for one in lines
            ]
            announced = Return(
                id=ID,
                order_id=ID,
                status=ReturnStatus.REQUESTED,
                version=1,
                reason="no",
                currency="GBP",
                lines=lines_to_return(returnable, [SkuQuantity(sku=sku, quantity=units)]),
                requested_at=NOW,
            )
            received = receive_return(announced, [ReceivedUnits(sku, units, 0)], warehouse="LON", received_at=NOW)
            if received.is_charged:
                received = with_shares(received, lines, came)
            refunded += received.refund_minor
            for back in received.lines:
                came[back.line] += back.received_quantity

        assert refunded == total
