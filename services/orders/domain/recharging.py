"""
Shipping and taxes of an order whose lines are edited, by the rules that it was placed with.

Shipping stays as it was stated. A tax is computed anew by its own rate, base and rounding, if that is what it came to
before. Discounts are promises of whoever made them, and what an added line is taxed at is for whoever states taxes by
line: orders with these are placed anew.
"""

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from services.orders.domain.charges import Charge, ChargeKind
from services.orders.domain.edits import ChargesNotEditable
from services.orders.domain.order import OrderLine
from services.orders.domain.shares import price, tax_by_its_rule


def recharged(
    before: Sequence[OrderLine], after: Sequence[OrderLine], charges: Sequence[Charge], *, currency: str
) -> tuple[tuple[OrderLine, ...], tuple[Charge, ...]]:
    """
    Return edited lines with what they bear, and the charges of the order as they are then.

    :raises ChargesNotEditable: if what they would be is not for us to say.
    :raises OrderTooExpensive: if a sum is beyond what every reader of JSON represents exactly.
    """
    known = {line.line for line in before}
    is_added_to = any(line.line not in known for line in after)
    places_before, places_after = _places(before), _places(after)
    old = [replace(one, lines=tuple(places_before[line] for line in one.lines)) for one in charges]
    kept: list[Charge] = []
    for number, one in enumerate(charges):
        is_unclear = one.kind is ChargeKind.DISCOUNT or (is_added_to and bool(one.lines))
        if is_unclear or tax_by_its_rule(before, old, number) not in {None, one.amount_minor}:
            raise ChargesNotEditable
        lines = tuple(line for line in one.lines if line in places_after)
        if lines or not one.lines:
            kept.append(replace(one, lines=lines))
    placed = [replace(one, lines=tuple(places_after[line] for line in one.lines)) for one in kept]
    for number, one in enumerate(placed):
        tax_minor = tax_by_its_rule(after, placed, number)
        if tax_minor is not None:
            placed[number] = replace(one, amount_minor=tax_minor)
            kept[number] = replace(kept[number], amount_minor=tax_minor)
    bare = tuple(structs.replace(line, charged_minor=None) for line in after)
    return price(bare, tuple(placed), currency=currency).lines, tuple(kept)


def _places(lines: Sequence[OrderLine]) -> dict[int, int]:
    """Return at which place, from 1, each line is: an edited order's numbers have gaps."""
    return {line.line: place for place, line in enumerate(lines, start=1)}
