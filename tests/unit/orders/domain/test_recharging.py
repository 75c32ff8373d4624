"""What an edited order bears of shipping and taxes."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase, TaxRounding
from services.orders.domain.order import OrderLine, total_borne
from services.orders.domain.recharging import recharged
from services.orders.domain.shares import price, tax_by_its_rule

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

    found, found_charges = recharged(placed.lines, after, charges, currency="GBP")

    assert found == expected.lines
    assert found_charges == expected.charges
    assert total_borne(found) == expected.total_minor
    assert all(line.charged_minor is not None and line.charged_minor >= 0 for line in found)
    again, charges_again = recharged(found, placed.lines, found_charges, currency="GBP")
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

    found, found_charges = recharged(placed.lines, after, charges, currency="GBP")

    assert [one.lines for one in found_charges] == [(), (last,)]
    assert [one.amount_minor for one in found_charges] == [one.amount_minor for one in charges]
    without, rest = recharged(found, found[:-1], found_charges, currency="GBP") if len(found) > 1 else (found, ())
    assert all(one.kind is ChargeKind.SHIPPING for one in rest)
    assert [line.line for line in without] == [line.line for line in (found[:-1] or found)]


def on_goods(tax: Tax) -> Tax:
    """Return the same tax on goods alone."""
    return replace(tax, base=TaxBase.GOODS)
