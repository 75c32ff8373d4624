"""Parts that events of several services are made of."""

from datetime import datetime

import msgspec


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where an order goes, as coarsely as planning needs it; the address itself never leaves the orders service.

    `country` is ISO 3166-1 alpha-2; coordinates are degrees rounded to one decimal (about 11 km).
    """

    country: str
    latitude: float | None = None
    longitude: float | None = None


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    One line of an order at the price that the customer accepted.

    `charged_minor` is what it bears of the total, discounts, shipping and taxes included; missing if there are none.
    """

    line: int
    sku: str
    quantity: int
    unit_price_minor: int
    charged_minor: int | None = None


class OrderCharge(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an order costs besides its goods: a discount is taken off, a tax with `is_inclusive` is in the prices.

    `kind` is `discount`, `shipping` or `tax`; `code` the promotion, the method of shipping or the category of the tax.
    A tax says its jurisdiction, its rate in millionths, and what it is on: `goods` (of `lines`, all if there are none),
    `shipping` or `all`.
    """

    kind: str
    code: str
    amount_minor: int
    lines: list[int] = msgspec.field(default_factory=list)
    jurisdiction: str | None = None
    rate_ppm: int | None = None
    is_inclusive: bool | None = None
    base: str | None = None


class OrderFinding(msgspec.Struct, frozen=True, kw_only=True):
    """
    Something about an order that is not as the shop has it, in minor units of the order's currency.

    `line` and `sku` are missing where it concerns the whole order, `expected_minor` where the shop knows no amount.
    `consequence` is what the channel's policy made of it: `accept`, `hold` or `refuse`.
    """

    kind: str
    consequence: str
    offered_minor: int
    expected_minor: int | None = None
    line: int | None = None
    sku: str | None = None
    # The promotion or tax category that it is about.
    code: str | None = None


class SkuQuantity(msgspec.Struct, frozen=True, kw_only=True):
    """A number of units of one SKU."""

    sku: str
    quantity: int


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Units of one SKU held in one warehouse."""

    warehouse: str
    sku: str
    quantity: int


class AlternativeSku(msgspec.Struct, frozen=True, kw_only=True):
    """
    A SKU that can be bought instead of another, with the units of it that the order could have.

    `score` is between 0 and 1, a higher one is better; `reason` says in words what it is made of. The price is what the
    catalog asks, in minor units.
    """

    sku: str
    price_minor: int
    currency: str
    available: int
    score: float
    reason: str


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an order wanted of a SKU and what all warehouses together could still promise.

    `expected_at` is when goods on their way should have filled it, for all who wait before the order too; None if
    nobody has announced that much. `alternatives` are free in the wanted quantity, the best first.
    """

    sku: str
    requested: int
    available: int
    expected_at: datetime | None = None
    alternatives: list[AlternativeSku] = msgspec.field(default_factory=list)
