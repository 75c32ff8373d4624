"""
What an order comes to with its charges, and what each line bears of it.

Everything is in minor units of the order's one currency, so nothing is ever rounded but a tax, by the rule that it
states. What is shared is shared by largest remainder (Hamilton's method): shares are proportional, at most one minor
unit off, and always sum to the whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from msgspec.structs import replace

from libs.common.errors import Invalid
from libs.common.money import Money
from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase, TaxRounding
from services.orders.domain.findings import Consequence, FindingKind, OrderFinding
from services.orders.domain.order import OrderLine, check_total, total_of
from services.orders.domain.prices import PricePolicy

_PPM: Final = 1_000_000
_ON_GOODS: Final = frozenset({TaxBase.GOODS, TaxBase.ALL})
_ON_SHIPPING: Final = frozenset({TaxBase.SHIPPING, TaxBase.ALL})
_PLACES: Final = {ChargeKind.DISCOUNT: "discounts", ChargeKind.SHIPPING: "shipping", ChargeKind.TAX: "taxes"}


class UnknownLine(Invalid):
    """A charge is for a line that the order does not have."""

    code: ClassVar[str] = "unknown-line"


class DiscountExceedsGoods(Invalid):
    """More would be taken off than the goods cost."""

    code: ClassVar[str] = "discount-exceeds-goods"


class TotalMismatch(Invalid):
    """Lines, discounts, shipping and taxes add up to another total than the order says."""

    code: ClassVar[str] = "total-mismatch"

    def __init__(self, *, expected_minor: int, offered_minor: int, currency: str) -> None:
        """Name both sums and the difference."""
        difference = offered_minor - expected_minor
        super().__init__(
            f"Lines, discounts, shipping and taxes add up to {Money(expected_minor, currency)}, and the total is "
            f"{Money(offered_minor, currency)}: {Money(abs(difference), currency)} too "
            f"{'much' if difference > 0 else 'little'}.",
            field="/total_minor",
        )


@dataclass(frozen=True, slots=True)
class Priced:
    """The lines of an order, each with what it bears of the total, and the total."""

    lines: tuple[OrderLine, ...]
    charges: tuple[Charge, ...]
    total_minor: int


def apportion(amount_minor: int, weights: Sequence[int]) -> list[int]:
    """
    Share an amount in proportion to `weights`, to the last minor unit: the largest remainders get those left over.

    Equal remainders go by position; weights that are all 0 count as equal.
    """
    total = sum(weights)
    if total == 0:
        weights, total = [1] * len(weights), len(weights)
    shares = [amount_minor * weight // total for weight in weights]
    left = amount_minor - sum(shares)
    by_remainder = sorted(range(len(weights)), key=lambda index: (-(amount_minor * weights[index] % total), index))
    for index in by_remainder[:left]:
        shares[index] += 1
    return shares


def tax_of(base_minor: int, tax: Tax) -> int:
    """Return the tax on an amount, or in it if prices include it, rounded half up."""
    parts = _PPM + tax.rate_ppm if tax.is_inclusive else _PPM
    return (2 * base_minor * tax.rate_ppm + parts) // (2 * parts)


def price(
    lines: tuple[OrderLine, ...], charges: tuple[Charge, ...], *, currency: str, total_minor: int | None = None
) -> Priced:
    """
    Return what each line bears of the total of lines - discounts + shipping + taxes that prices do not include.

    A discount lowers the lines that it is for; a tax falls on what it is computed on; shipping goes by what the lines
    cost after discounts.

    :raises UnknownLine: if a charge names a line that there is not.
    :raises DiscountExceedsGoods: if less than nothing would be left of the lines that a discount is for.
    :raises TotalMismatch: if `total_minor` is given and is another.
    :raises OrderTooExpensive: if a sum is beyond what every reader of JSON represents exactly.
    """
    total = total_of(lines)
    if charges:
        borne = _borne(lines, charges)
        total = check_total(sum(borne))
        lines = tuple(replace(line, charged_minor=minor) for line, minor in zip(lines, borne, strict=True))
    if total_minor is not None and total_minor != total:
        raise TotalMismatch(expected_minor=total, offered_minor=total_minor, currency=currency)
    return Priced(lines, charges, total)


def _borne(lines: Sequence[OrderLine], charges: Sequence[Charge]) -> list[int]:
    goods = discounted(lines, charges)
    borne = list(goods)
    shipping = _shipping(goods, charges)
    _add(borne, shipping)
    for number, charge in enumerate(charges):
        if charge.tax is not None and not charge.tax.is_inclusive:
            weights = _taxed(charges, number, goods, shipping)
            _add(borne, apportion(charge.amount_minor, weights))
    return borne


def _expected_tax(goods: Sequence[int], charges: Sequence[Charge], number: int, tax: Tax) -> int:
    """Return what the tax that is charge `number` comes to by its own rate, base and rounding."""
    shipping = sum(one.amount_minor for one in charges if one.kind is ChargeKind.SHIPPING)
    bases = [goods[index] for index in chosen_lines(charges, number, len(goods))] if tax.base in _ON_GOODS else []
    if tax.base in _ON_SHIPPING:
        bases.append(shipping)
    if tax.rounding is TaxRounding.ORDER:
        bases = [sum(bases)]
    return sum(tax_of(base, tax) for base in bases)


def tax_by_its_rule(lines: Sequence[OrderLine], charges: Sequence[Charge], number: int) -> int | None:
    """Return what the tax that is charge `number` comes to by its own rate, base and rounding; None if it is no tax."""
    tax = charges[number].tax
    return None if tax is None else _expected_tax(discounted(lines, charges), charges, number, tax)


def check_taxes(lines: Sequence[OrderLine], charges: Sequence[Charge], policy: PricePolicy) -> Iterator[OrderFinding]:
    """Yield the taxes that are not what they say of themselves comes to."""
    if policy.on_mismatch is Consequence.IGNORE:
        return
    goods = discounted(lines, charges)
    for number, charge in enumerate(charges):
        if charge.tax is None:
            continue
        expected = _expected_tax(goods, charges, number, charge.tax)
        if expected != charge.amount_minor:
            yield OrderFinding(
                kind=FindingKind.TAX_MISMATCH,
                line=None,
                sku=None,
                expected_minor=expected,
                offered_minor=charge.amount_minor,
                consequence=policy.on_mismatch,
                code=charge.code,
            )


def discounted(lines: Sequence[OrderLine], charges: Sequence[Charge]) -> list[int]:
    """Return what the lines cost after discounts; each discount meets what those before it have left."""
    goods = [line.quantity * line.unit_price_minor for line in lines]
    for number, charge in enumerate(charges):
        if charge.kind is ChargeKind.DISCOUNT:
            chosen = chosen_lines(charges, number, len(goods))
            left = [goods[index] for index in chosen]
            if charge.amount_minor > sum(left):
                raise DiscountExceedsGoods(
                    f"{charge.amount_minor} minor units would be taken off {sum(left)}.",
                    field=f"{field_of(charges, number)}/amount_minor",
                )
            for index, share in zip(chosen, apportion(charge.amount_minor, left), strict=True):
                goods[index] -= share
    return goods


def _shipping(goods: Sequence[int], charges: Sequence[Charge]) -> list[int]:
    amount = sum(one.amount_minor for one in charges if one.kind is ChargeKind.SHIPPING)
    return apportion(amount, goods)


def _taxed(charges: Sequence[Charge], number: int, goods: Sequence[int], shipping: Sequence[int]) -> list[int]:
    """Return how much of each line the tax is on."""
    weights = [0] * len(goods)
    tax = charges[number].tax
    if tax is not None and tax.base in _ON_GOODS:
        for index in chosen_lines(charges, number, len(goods)):
            weights[index] += goods[index]
    if tax is not None and tax.base in _ON_SHIPPING:
        _add(weights, shipping)
    return weights


def chosen_lines(charges: Sequence[Charge], number: int, count: int) -> list[int]:
    """
    Return the indices of the lines that a charge is for, each once, of `count` lines.

    :raises UnknownLine: if it names another.
    """
    charge = charges[number]
    unknown = next((line for line in charge.lines if not 1 <= line <= count), None)
    if unknown is not None:
        raise UnknownLine(f"The order has no line {unknown}.", field=f"{field_of(charges, number)}/lines")
    return sorted({line - 1 for line in charge.lines}) if charge.lines else list(range(count))


def field_of(charges: Sequence[Charge], number: int) -> str:
    """Return where in a request a charge stands."""
    kind = charges[number].kind
    return f"/{_PLACES[kind]}/{sum(one.kind is kind for one in charges[:number])}"


def _add(sums: list[int], parts: Sequence[int]) -> None:
    for index, part in enumerate(parts):
        sums[index] += part
