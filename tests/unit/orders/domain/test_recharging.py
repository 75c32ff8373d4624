"""What an edited order bears of discounts, shipping and taxes."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase, TaxRounding
from services.orders.domain.order import OrderLine, total_borne
from services.orders.domain.promotions import Promotion, PromotionKind
from services.orders.domain.recharging import recharged
from services.orders.domain.shares import Priced, price, tax_by_its_rule

SHIPPING = Charge(kind=ChargeKind.SHIPPING, code="standard", amount_minor=499)


def taxed(lines: tuple[OrderLine, ...], *taxes: tuple[Tax, tuple[int, ...]]) -> tuple[Charge, ...]:
    """Return shipping and taxes as a channel that computes them right states them."""
    charges = (
        SHIPPING,
        *(Charge(kind=ChargeKind.TAX, code="standard", amount_minor=0, tax=tax, lines=of) for tax, of in taxes),
    )
    return tuple(
        one if one.tax is None else replace(one, amount_minor=tax_by_its_rule(lines, charges, number) or 0)
        for number, one in enumerate(charges)
    )


def edited(
    before: tuple[OrderLine, ...], after: tuple[OrderLine, ...], charges: tuple[Charge, ...], *promotions: Promotion
) -> tuple[tuple[OrderLine, ...], tuple[Charge, ...]]:
    """Return what an order in pounds is after an edit."""
    known = {one.code: one for one in promotions}
    return recharged(before, after, charges, currency="GBP", promotions=known)


@st.composite
def some_lines(draw: st.DrawFn, *, least: int = 1) -> tuple[OrderLine, ...]:
    prices = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 999)), min_size=least, max_size=4))
    return tuple(
        OrderLine(line=number, sku=f"SKU-{number}", quantity=quantity, unit_price_minor=minor)
        for number, (quantity, minor) in enumerate(prices, start=1)
    )


TAXES = st.builds(
    Tax,
    jurisdiction=st.just("GB"),
    rate_ppm=st.integers(0, 300_000),
    is_inclusive=st.booleans(),
    base=st.sampled_from(TaxBase),
    rounding=st.sampled_from(TaxRounding),
)


@settings(max_examples=150, deadline=None)
@given(lines=some_lines(), tax=TAXES, data=st.data())
def test_an_edited_order_bears_what_it_would_if_it_had_been_placed_so(
    lines: tuple[OrderLine, ...], tax: Tax, data: st.DataObject
) -> None:
    charges = taxed(lines, (tax, ()))
    placed = price(lines, charges, currency="GBP")
    other = data.draw(st.lists(st.integers(1, 9), min_size=len(lines), max_size=len(lines)))
    after = tuple(structs.replace(line, quantity=units) for line, units in zip(lines, other, strict=True))
    expected = price(after, taxed(after, (tax, ())), currency="GBP")

    found, found_charges = edited(placed.lines, after, charges)

    assert found == expected.lines
    assert found_charges == expected.charges
    assert total_borne(found) == expected.total_minor
    assert all(line.charged_minor is not None and line.charged_minor >= 0 for line in found)
    again, charges_again = edited(found, placed.lines, found_charges)
    assert (again, charges_again) == (placed.lines, charges)


@settings(max_examples=100, deadline=None)
@given(lines=some_lines(least=2), tax=TAXES, data=st.data())
def test_a_tax_stays_with_the_lines_it_is_for_when_others_are_removed(
    lines: tuple[OrderLine, ...], tax: Tax, data: st.DataObject
) -> None:
    tax = on_goods(tax)
    last = len(lines)
    charges = taxed(lines, (tax, (last,)))
    placed = price(lines, charges, currency="GBP")
    removed = data.draw(st.integers(1, last - 1))
    after = tuple(line for line in placed.lines if line.line != removed)

    found, found_charges = edited(placed.lines, after, charges)

    assert [one.lines for one in found_charges] == [(), (last,)]
    assert [one.amount_minor for one in found_charges] == [one.amount_minor for one in charges]
    without, rest = edited(found, found[:-1], found_charges) if len(found) > 1 else (found, ())
    assert all(one.kind is ChargeKind.SHIPPING for one in rest)
    assert [line.line for line in without] == [line.line for line in (found[:-1] or found)]


PROMOTIONS = st.one_of(
    st.builds(
        Promotion,
        code=st.just("TEN"),
        kind=st.just(PromotionKind.PERCENT),
        rate_ppm=st.integers(0, 1_000_000),
        skus=st.sampled_from([(), ("SKU-1",), ("SKU-2", "SKU-9")]),
        minimum_minor=st.integers(0, 3_000),
        valid_from=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    ),
    st.builds(
        Promotion,
        code=st.just("TEN"),
        kind=st.just(PromotionKind.AMOUNT),
        amount_minor=st.integers(0, 5_000),
        currency=st.just("GBP"),
        minimum_minor=st.integers(0, 3_000),
        valid_from=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    ),
)


@settings(max_examples=200, deadline=None)
@given(lines=some_lines(), promotion=PROMOTIONS, tax=TAXES, data=st.data())
def test_a_promotion_takes_off_what_it_would_if_the_order_had_been_placed_so(
    lines: tuple[OrderLine, ...], promotion: Promotion, tax: Tax, data: st.DataObject
) -> None:
    def placed_so(chosen: tuple[OrderLine, ...]) -> Priced:
        off = Charge(kind=ChargeKind.DISCOUNT, code="TEN", amount_minor=promotion.due_minor(chosen))
        charges = (off, *taxed(chosen, (tax, ())))
        stated = tax_by_its_rule(chosen, charges, 2)
        charges = (*charges[:2], replace(charges[2], amount_minor=stated or 0))
        return price(chosen, charges, currency="GBP")

    placed = placed_so(lines)
    other = data.draw(st.lists(st.integers(0, 9), min_size=len(lines), max_size=len(lines)))
    added = data.draw(some_lines())
    changed = [
        *(structs.replace(line, quantity=units) for line, units in zip(lines, other, strict=True) if units),
        *(structs.replace(line, line=line.line + 10) for line in added),
    ]
    expected = placed_so(tuple(changed))

    found, found_charges = edited(placed.lines, tuple(changed), placed.charges, promotion)

    assert found == expected.lines
    if placed.charges[0].amount_minor:
        assert found_charges == tuple(
            one for one in expected.charges if one.amount_minor or one.kind is not ChargeKind.DISCOUNT
        )


@settings(max_examples=200, deadline=None)
@given(lines=some_lines(least=2), data=st.data())
def test_a_discount_that_nobody_can_account_for_follows_the_units_of_its_lines(
    lines: tuple[OrderLine, ...], data: st.DataObject
) -> None:
    of = data.draw(st.sampled_from([(), (1,), (1, 2)]))
    goods = sum(line.quantity * line.unit_price_minor for line in lines if not of or line.line in of)
    off = Charge(kind=ChargeKind.DISCOUNT, code="GOODWILL", lines=of, amount_minor=data.draw(st.integers(0, goods)))
    placed = price(lines, (off,), currency="GBP")
    other = data.draw(st.lists(st.integers(1, 9), min_size=len(lines), max_size=len(lines)))
    after = tuple(structs.replace(line, quantity=units) for line, units in zip(lines, other, strict=True))

    found, charges = edited(placed.lines, after, placed.charges)

    off_after = sum(one.amount_minor for one in charges)
    taken = [line.quantity * line.unit_price_minor - line.share_minor(0, line.quantity) for line in placed.lines]
    exactly = sum(
        (Fraction(minor * units, line.quantity) for minor, units, line in zip(taken, other, lines, strict=True)),
        start=Fraction(0),
    )
    if not of:
        exactly = min(exactly, Fraction(off.amount_minor))
    assert abs(off_after - exactly) <= Fraction(1, 2) or off_after == sum(
        line.quantity * line.unit_price_minor for line in after if not of or line.line in of
    )
    assert all(0 <= line.share_minor(0, line.quantity) <= line.quantity * line.unit_price_minor for line in found)


def test_half_of_the_units_bear_half_of_the_discount() -> None:
    lines = (OrderLine(line=1, sku="CHAIR", quantity=4, unit_price_minor=1_000),)
    off = Charge(kind=ChargeKind.DISCOUNT, code="GOODWILL", amount_minor=500, lines=(1,))
    placed = price(lines, (off,), currency="GBP")

    found, charges = edited(placed.lines, (structs.replace(placed.lines[0], quantity=2),), placed.charges)

    assert ([one.amount_minor for one in charges], found[0].charged_minor) == ([250], 1_750)


def test_two_discounts_never_take_more_than_there_is() -> None:
    lines = (OrderLine(line=1, sku="CHAIR", quantity=1, unit_price_minor=1_000),)
    promotion = Promotion(
        code="SALE",
        kind=PromotionKind.AMOUNT,
        amount_minor=900,
        currency="GBP",
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    )
    offs = tuple(Charge(kind=ChargeKind.DISCOUNT, code=code, amount_minor=900) for code in ("SALE", "OTHER"))
    dear = (structs.replace(lines[0], quantity=2),)
    placed = price(dear, offs, currency="GBP")

    found, charges = edited(placed.lines, lines, placed.charges, promotion)

    assert ([one.amount_minor for one in charges], total_borne(found)) == ([900, 100], 0)


def on_goods(tax: Tax) -> Tax:
    """Return the same tax on goods alone."""
    return replace(tax, base=TaxBase.GOODS)
