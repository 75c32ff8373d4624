"""Goods that come back: which lines they belong to, and what they are worth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from libs.common.errors import Conflict, Invalid, NotFound
from libs.common.events.shapes import SkuQuantity
from services.orders.domain.order import OrderLine, OrderStatus


class ReturnStatus(StrEnum):
    """The stages of a return."""

    REQUESTED = "requested"
    RECEIVED = "received"
    CLOSED = "closed"


class ReturnNotFound(NotFound):
    """There is no return with this id."""

    code: ClassVar[str] = "return-not-found"

    def __init__(self, return_id: UUID) -> None:
        """Name the return."""
        super().__init__(f"There is no return {return_id}.")


class OrderNotShipped(Conflict):
    """Goods that have not left cannot come back; the order can be cancelled instead."""

    code: ClassVar[str] = "order-not-shipped"

    def __init__(self, order_id: UUID, status: OrderStatus) -> None:
        """Name the order and where it is."""
        super().__init__(f"Order {order_id} is {status}; only shipped orders can be returned.")


class SkuNotInOrder(Invalid):
    """The order has no line of this SKU."""

    code: ClassVar[str] = "sku-not-in-order"


class ReturnExceedsOrder(Conflict):
    """More units would come back than were bought and not yet returned."""

    code: ClassVar[str] = "return-exceeds-order"


class ReturnAlreadyReceived(Conflict):
    """The goods of this return have been received before."""

    code: ClassVar[str] = "return-already-received"

    def __init__(self, return_id: UUID) -> None:
        """Name the return."""
        super().__init__(f"The goods of return {return_id} have been received before.")


class ReceiptExceedsReturn(Invalid):
    """More units were received, or more of them restocked, than the return announced."""

    code: ClassVar[str] = "receipt-exceeds-return"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnLine:
    """
    Units of one order line that come back.

    `refund_minor` is what goes back for them where the line bears more than its price: an estimate until they came.
    """

    line: int
    sku: str
    quantity: int
    unit_price_minor: int
    received_quantity: int = 0
    restocked_quantity: int = 0
    refund_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Goods of one order that a customer sends back; `version` counts its events."""

    id: UUID
    order_id: UUID
    status: ReturnStatus
    version: int
    reason: str
    currency: str
    lines: tuple[ReturnLine, ...]
    requested_at: datetime
    warehouse: str | None = None
    received_at: datetime | None = None

    @property
    def refund_minor(self) -> int:
        """What the customer gets for it: as announced, or as received once it was."""
        is_announced = self.status is ReturnStatus.REQUESTED
        return sum(
            (line.quantity if is_announced else line.received_quantity) * line.unit_price_minor
            if line.refund_minor is None
            else line.refund_minor
            for line in self.lines
        )

    @property
    def is_charged(self) -> bool:
        """Whether what goes back is more, or less, than units times their price."""
        return any(line.refund_minor is not None for line in self.lines)

    def units(self) -> list[SkuQuantity]:
        """Return the units announced by SKU."""
        return _units((line.sku, line.quantity) for line in self.lines)

    def received_units(self) -> list[SkuQuantity]:
        """Return the units received by SKU."""
        return _units((line.sku, line.received_quantity) for line in self.lines)

    def restocked_units(self) -> list[SkuQuantity]:
        """Return the units that can be sold again, by SKU."""
        return _units((line.sku, line.restocked_quantity) for line in self.lines)


@dataclass(frozen=True, slots=True)
class ReceivedUnits:
    """How many units of a SKU a warehouse found in the parcel, and how many of them can be sold again."""

    sku: str
    quantity: int
    restock_quantity: int


def lines_to_return(lines: Iterable[OrderLine], wanted: Sequence[SkuQuantity]) -> tuple[ReturnLine, ...]:
    """
    Say which order lines the `wanted` units belong to: the latest lines of a SKU first.

    :raises SkuNotInOrder: if the order has no such SKU.
    :raises ReturnExceedsOrder: if fewer units are left to return.
    """
    latest_first = sorted(lines, key=lambda line: -line.line)
    found: list[ReturnLine] = []
    for index, units in enumerate(wanted):
        of_sku = [line for line in latest_first if line.sku == units.sku]
        if not of_sku:
            raise SkuNotInOrder(f"The order has no line of {units.sku}.", field=f"/lines/{index}/sku")
        missing = units.quantity
        for line in of_sku:
            taken = min(missing, line.returnable_quantity)
            if taken:
                is_charged = line.charged_minor is not None
                found.append(
                    ReturnLine(
                        line=line.line,
                        sku=line.sku,
                        quantity=taken,
                        unit_price_minor=line.unit_price_minor,
                        refund_minor=line.share_minor(line.returned_quantity, taken) if is_charged else None,
                    )
                )
                missing -= taken
        if missing:
            left = units.quantity - missing
            raise ReturnExceedsOrder(
                f"{left} units of {units.sku} can still be returned, not {units.quantity}.",
                field=f"/lines/{index}/quantity",
            )
    return tuple(found)


def receive_return(
    announced: Return, received: Sequence[ReceivedUnits], *, warehouse: str, received_at: datetime
) -> Return:
    """
    Return what becomes of a return when a warehouse has counted it; units that did not come are left out.

    :raises ReturnAlreadyReceived: if that happened before.
    :raises ReceiptExceedsReturn: if more units came than were announced.
    """
    if announced.status is not ReturnStatus.REQUESTED:
        raise ReturnAlreadyReceived(announced.id)
    counted = list(announced.lines)
    for index, units in enumerate(received):
        missing, to_restock = units.quantity, units.restock_quantity
        for position, line in enumerate(counted):
            if line.sku != units.sku:
                continue
            taken = min(missing, line.quantity)
            restocked = min(to_restock, taken)
            counted[position] = replace(line, received_quantity=taken, restocked_quantity=restocked)
            missing -= taken
            to_restock -= restocked
        if missing:
            raise ReceiptExceedsReturn(
                f"{units.quantity - missing} units of {units.sku} were announced.", field=f"/lines/{index}/quantity"
            )
    return replace(
        announced,
        status=ReturnStatus.RECEIVED,
        version=announced.version + 1,
        lines=tuple(counted),
        warehouse=warehouse,
        received_at=received_at,
    )


def with_shares(received: Return, lines: Iterable[OrderLine], received_before: Mapping[int, int]) -> Return:
    """
    Return a received return with what its units bear of the order's discounts, shipping and taxes.

    `received_before` counts, by line, the units that came with other returns: the shares of a line's units follow each
    other, so that all of them together are what the line bears, whichever came first.
    """
    by_line = {line.line: line for line in lines}
    shared = tuple(
        replace(
            line,
            refund_minor=by_line[line.line].share_minor(received_before.get(line.line, 0), line.received_quantity),
        )
        for line in received.lines
    )
    return replace(received, lines=shared)


def _units(pairs: Iterable[tuple[str, int]]) -> list[SkuQuantity]:
    units: dict[str, int] = {}
    for sku, quantity in pairs:
        units[sku] = units.get(sku, 0) + quantity
    return [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in units.items() if quantity]
