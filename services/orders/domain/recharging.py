"""
Discounts, shipping and taxes of an order whose lines are edited, by the rules that it was placed with.

Shipping stays as it was stated. A discount that is what its promotion took off when the order was placed is judged
again by that promotion, as it was then: it may come to more, to less, or to nothing if too little is left. Any other
discount follows the units of its lines in proportion, one of the whole order only downwards. A tax is computed anew by
its own rate, base and rounding, if that is what it came to before; what else it would be, and what an added line is
taxed at, is for whoever states taxes, who states them with the edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Final

from msgspec import structs

from services.orders.domain.charges import Charge, ChargeKind
from services.orders.domain.edits import ChargesNotEditable
from services.orders.domain.order import OrderLine
from services.orders.domain.promotions import Promotion
from services.orders.domain.shares import UnknownLine, chosen_lines, discounted, price, tax_by_its_rule

_HALF: Final = Fraction(1, 2)


def recharged(
    before: Sequence[OrderLine],
    after: Sequence[OrderLine],
    charges: Sequence[Charge],
    *,
    currency: str,
    promotions: Mapping[str, Promotion],
    taxes: Sequence[Charge] | None = None,
) -> tuple[tuple[OrderLine, ...], tuple[Charge, ...]]:
    """
    Return edited lines with what they bear, and the charges of the order as they are then.

    `promotions` are those of its discounts as they were when it was placed, by their codes. `taxes` are stated with the
    edit, instead of those that the order has, and name its lines as they are then; None if none are.

    :raises ChargesNotEditable: if what a tax would be is not for us to say, and is not stated.
    :raises UnknownLine: if one of `taxes` names a line that there is not.
    :raises OrderTooExpensive: if a sum is beyond what every reader of JSON represents exactly.
    """
    known = {line.line for line in before}
    is_added_to = any(line.line not in known for line in after)
    old = placed_charges(before, charges)
    kept: list[Charge] = []
    for number, one in enumerate(charges):
        if one.tax is not None and taxes is not None:
            continue
        if one.tax is not None:
            _check_is_ours(one, tax_by_its_rule(before, old, number), is_added_to=is_added_to)
        lines = tuple(line for line in one.lines if any(line == left.line for left in after))
        if one.lines and not lines:
            continue
        anew = replace(one, lines=lines)
        if one.kind is ChargeKind.DISCOUNT:
            left_minor = _left_minor(after, [*kept, anew])
            promotion = promotions.get(one.code)
            is_its_own = promotion is not None and promotion.currency in {None, currency}
            wanted_minor = _discount(before, after, old, number, promotion if is_its_own else None)
            anew = replace(anew, amount_minor=min(wanted_minor, left_minor))
            if one.amount_minor and not anew.amount_minor:
                continue
        kept.append(anew)
    if taxes is not None:
        _check_lines(taxes, after)
        kept.extend(taxes)
    placed = placed_charges(after, kept)
    for number in range(len(kept)):
        tax_minor = None if taxes is not None else tax_by_its_rule(after, placed, number)
        if tax_minor is not None:
            placed[number] = replace(placed[number], amount_minor=tax_minor)
            kept[number] = replace(kept[number], amount_minor=tax_minor)
    bare = tuple(structs.replace(line, charged_minor=None) for line in after)
    return price(bare, tuple(placed), currency=currency).lines, tuple(kept)


def _check_lines(taxes: Sequence[Charge], after: Sequence[OrderLine]) -> None:
    known = {line.line for line in after}
    for number, tax in enumerate(taxes):
        if (unknown := next((line for line in tax.lines if line not in known), None)) is not None:
            raise UnknownLine(f"The edited order has no line {unknown}.", field=f"/taxes/{number}/lines")


def _check_is_ours(tax: Charge, by_rule_minor: int | None, *, is_added_to: bool) -> None:
    """
    Refuse to say what a tax would be that others have decided.

    :raises ChargesNotEditable: if so, naming it.
    """
    if by_rule_minor != tax.amount_minor:
        raise ChargesNotEditable(tax.code, f"is {tax.amount_minor}, and its own rule comes to {by_rule_minor}")
    if is_added_to and tax.lines:
        raise ChargesNotEditable(tax.code, "names its lines, so that what an added line is taxed at is not known")


def placed_charges(lines: Sequence[OrderLine], charges: Sequence[Charge]) -> list[Charge]:
    """Return charges that name their lines by place, from 1: an edited order's numbers have gaps."""
    places = {line.line: place for place, line in enumerate(lines, start=1)}
    return [replace(one, lines=tuple(places[line] for line in one.lines)) for one in charges]


def _left_minor(after: Sequence[OrderLine], charges: Sequence[Charge]) -> int:
    """Return what the goods of the last of the discounts cost after those before it."""
    placed = placed_charges(after, charges)
    goods = discounted(after, placed[:-1])
    return sum(goods[index] for index in chosen_lines(placed, len(placed) - 1, len(after)))


def _discount(
    before: Sequence[OrderLine],
    after: Sequence[OrderLine],
    old: Sequence[Charge],
    number: int,
    promotion: Promotion | None,
) -> int:
    """Return what a discount comes to, before it is known how much is left for it to be taken off."""
    chosen = [before[index] for index in chosen_lines(old, number, len(before))]
    charge = old[number]
    if promotion is not None and promotion.due_minor(chosen) == charge.amount_minor:
        numbers = {line.line for line in chosen}
        return promotion.due_minor([line for line in after if not charge.lines or line.line in numbers])
    shares = zip(discounted(before, old[:number]), discounted(before, old[: number + 1]), strict=True)
    units = {line.line: line.quantity for line in after}
    in_proportion = sum(
        (
            Fraction((left - rest) * units.get(line.line, 0), line.quantity)
            for line, (left, rest) in zip(before, shares, strict=True)
        ),
        start=Fraction(0),
    )
    rounded = floor(in_proportion + _HALF)
    # Nobody has said what a sum for the whole order would be on more of it.
    return rounded if charge.lines else min(rounded, charge.amount_minor)
