"""What a SKU cost when: the catalog's prices as periods, and the check of an order's lines against them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, Final

from libs.common.errors import Invalid
from services.orders.domain.findings import Consequence, FindingKind, OrderFinding
from services.orders.domain.order import OrderLine

_REFUSED_LINES_NAMED_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePeriod:
    """
    What the catalog asked for a SKU from `valid_from` until (excluding) `valid_to`, None while it still does.

    `version` is the catalog's version of the product. A product that was not listed had no price.
    """

    sku: str
    version: int
    currency: str
    price_minor: int
    is_listed: bool
    valid_from: datetime
    valid_to: datetime | None = None

    def says_the_same(self, other: "PricePeriod") -> bool:
        """Tell whether nothing about the price differs, whatever else about the product does."""
        return (self.currency, self.price_minor, self.is_listed) == (
            other.currency,
            other.price_minor,
            other.is_listed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """
    What a channel's prices may be: what follows from another price than the catalog's, and from one without any.

    `on_limit` is what follows from a promotion that has been used, or has cost, as much as it may: who sets a limit
    means it, so that it refuses unless the channel says otherwise.
    """

    on_mismatch: Consequence = Consequence.ACCEPT
    on_unknown: Consequence = Consequence.IGNORE
    on_limit: Consequence = Consequence.REFUSE

    @property
    def is_checked(self) -> bool:
        """Whether anything can come out of a check."""
        return self.on_mismatch is not Consequence.IGNORE or self.on_unknown is not Consequence.IGNORE

    def consequence_of(self, kind: FindingKind) -> Consequence:
        """Return what follows from a finding."""
        return self.on_unknown if kind is FindingKind.PRICE_UNKNOWN else self.on_mismatch


class OrderPriceRefused(Invalid):
    """A price, a discount or a tax is not as the shop has it, and the channel takes no other."""

    code: ClassVar[str] = "price-refused"

    def __init__(self, findings: Sequence[OrderFinding], currency: str) -> None:
        """Name the lines and why."""
        named = "; ".join(_named(one, currency) for one in findings[:_REFUSED_LINES_NAMED_MAX])
        more = len(findings) - _REFUSED_LINES_NAMED_MAX
        first = findings[0].line
        super().__init__(
            f"{named}{f'; and {more} more' if more > 0 else ''}.",
            field=None if first is None else f"/lines/{first - 1}/unit_price_minor",
        )


def follow_prices(latest: PricePeriod | None, told: Iterable[PricePeriod]) -> list[PricePeriod]:
    """
    Return the new periods of one SKU, oldest first, given its latest one and what the catalog told since, in order.

    What was followed before, or changes no price, makes no period. Times never go back, whatever clocks say.
    """
    periods: list[PricePeriod] = []
    for one in told:
        if latest is not None:
            if one.version <= latest.version or latest.says_the_same(one):
                continue
            one = replace(one, valid_from=max(one.valid_from, latest.valid_from))  # noqa: PLW2901 - a clock set right
        periods.append(one)
        latest = one
    return periods


def check_line(line: OrderLine, asked_minor: Sequence[int], policy: PricePolicy) -> OrderFinding | None:
    """
    Hold a line against the prices that were asked for its SKU in the order's window, the latest last.

    None if it is right, or if nothing follows.
    """
    if line.unit_price_minor in asked_minor:
        return None
    kind = FindingKind.PRICE_MISMATCH if asked_minor else FindingKind.PRICE_UNKNOWN
    consequence = policy.consequence_of(kind)
    if consequence is Consequence.IGNORE:
        return None
    return OrderFinding(
        kind=kind,
        line=line.line,
        sku=line.sku,
        expected_minor=asked_minor[-1] if asked_minor else None,
        offered_minor=line.unit_price_minor,
        consequence=consequence,
    )


def _named(finding: OrderFinding, currency: str) -> str:
    if finding.line is None:
        expected = "" if finding.expected_minor is None else f"{finding.expected_minor} expected, "
        return f"{finding.code}: {finding.kind}, {expected}{finding.offered_minor} minor units of {currency} offered"
    if finding.expected_minor is None:
        return f"line {finding.line}: {finding.kind}, {finding.sku} has no price in {currency}"
    return (
        f"line {finding.line}: {finding.kind}, {finding.sku} costs {finding.expected_minor} minor units of {currency}, "
        f"not {finding.offered_minor}"
    )
