"""Goods that come back: which lines they belong to, and what they are worth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from libs.common.errors import Conflict, Invalid, NotFound
from libs.common.events.shapes import SkuQuantity
from services.orders.domain.order import OrderLine, OrderStatus, check_total
from services.orders.domain.shares import apportion


class ReturnStatus(StrEnum):
    """The stages of a return."""

    REQUESTED = "requested"
    RECEIVED = "received"
    INSPECTED = "inspected"
    CLOSED = "closed"


class ReasonCode(StrEnum):
    """Why goods come back, in a word that can be counted."""

    DAMAGED = "damaged"
    DEFECTIVE = "defective"
    WRONG_ITEM = "wrong-item"
    NOT_AS_DESCRIBED = "not-as-described"
    DOES_NOT_FIT = "does-not-fit"
    ARRIVED_LATE = "arrived-late"
    CHANGED_MIND = "changed-mind"
    ORDERED_BY_MISTAKE = "ordered-by-mistake"
    OTHER = "other"


class Grade(StrEnum):
    """The state of goods that came back."""

    NEW = "new"
    OPENED = "opened"
    USED = "used"
    DAMAGED = "damaged"


class Disposition(StrEnum):
    """What becomes of goods that came back."""

    RESTOCK = "restock"
    WRITE_OFF = "write-off"


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


class ReturnedToOrigin(Conflict):
    """The order's goods were bought with another one, which has their prices."""

    code: ClassVar[str] = "returned-to-origin"

    def __init__(self, order_id: UUID, origin_id: UUID) -> None:
        """Name both orders."""
        super().__init__(f"Goods of order {order_id} were paid for with order {origin_id}; return them to that one.")


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


class ReturnWindowClosed(Conflict):
    """The goods arrived too long ago."""

    code: ClassVar[str] = "return-window-closed"

    def __init__(self, order_id: UUID, closed_at: datetime) -> None:
        """Name the order and until when its goods could come back."""
        super().__init__(f"Goods of order {order_id} could be returned until {closed_at.isoformat()}.")


class ReturnNotReceived(Conflict):
    """Goods that are not there cannot be inspected, nor those that were before."""

    code: ClassVar[str] = "return-not-to-be-inspected"

    def __init__(self, return_id: UUID, status: ReturnStatus) -> None:
        """Name the return and where it is."""
        super().__init__(f"Return {return_id} is {status}; goods are inspected once, when they have arrived.")


class ReturnAlreadySent(Conflict):
    """A label is of no use any more."""

    code: ClassVar[str] = "return-already-sent"

    def __init__(self, return_id: UUID) -> None:
        """Name the return."""
        super().__init__(f"The goods of return {return_id} have arrived; a label is of no use any more.")


class InspectionIncomplete(Invalid):
    """Other units were inspected than have arrived."""

    code: ClassVar[str] = "inspection-incomplete"


class ExchangeNotExchangeable(Conflict):
    """Goods that were sent for others are given back for money; what is wanted then is an order of its own."""

    code: ClassVar[str] = "exchange-not-exchangeable"

    def __init__(self, order_id: UUID) -> None:
        """Name the order."""
        super().__init__(
            f"Order {order_id} is an exchange itself: return its goods for money, and order what is wanted."
        )


class ExchangeCostsMore(Invalid):
    """What is wanted instead costs more than what comes back."""

    code: ClassVar[str] = "exchange-costs-more"


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
    written_off_quantity: int = 0
    refund_minor: int | None = None

    @property
    def announced_minor(self) -> int:
        """What would go back if all of it came: its price, unless the line bears another share."""
        return self.quantity * self.unit_price_minor if self.refund_minor is None else self.refund_minor

    @property
    def value_minor(self) -> int:
        """What goes back for what came: its price, unless the line bears another share or an inspection says so."""
        return self.received_quantity * self.unit_price_minor if self.refund_minor is None else self.refund_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedInstead:
    """Units that a customer wants in exchange, at the price that they have now."""

    sku: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedUnits:
    """The state of units that came back, what becomes of them, and which share of their price is given back."""

    sku: str
    quantity: int
    grade: Grade
    disposition: Disposition
    refund_percent: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """
    Goods of one order that a customer sends back; `version` counts its events.

    With `exchange_for` what is given back is, up to the price of that, an order of its own instead of money. If it
    costs more, `exchange_due_minor` is agreed to be paid with `payment_token`, and never more.
    """

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
    reason_code: ReasonCode = ReasonCode.OTHER
    label_carrier: str | None = None
    label_reference: str | None = None
    inspected_at: datetime | None = None
    inspected_by: str | None = None
    inspection: tuple[InspectedUnits, ...] = ()
    exchange_for: tuple[WantedInstead, ...] = ()
    exchange_order_id: UUID | None = None
    payment_token: str | None = None
    exchange_due_minor: int = 0

    @property
    def credit_minor(self) -> int:
        """What the customer gets for it, in money or goods: as announced, or as received once it was."""
        if self.status is not ReturnStatus.REQUESTED:
            return sum(line.value_minor for line in self.lines)
        return sum(line.announced_minor for line in self.lines)

    @property
    def wanted_minor(self) -> int:
        """What the goods cost that are wanted instead of money."""
        return sum(one.quantity * one.unit_price_minor for one in self.exchange_for)

    @property
    def lacking_minor(self) -> int:
        """What they cost beyond what comes back."""
        return max(0, self.wanted_minor - self.credit_minor)

    @property
    def exchange_minor(self) -> int:
        """What of that is goods instead of money: none if less came back than was agreed."""
        return min(self.wanted_minor, self.credit_minor) if self.lacking_minor <= self.exchange_due_minor else 0

    @property
    def refund_minor(self) -> int:
        """What the customer gets back in money."""
        return self.credit_minor - self.exchange_minor

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

    def written_off_units(self) -> list[SkuQuantity]:
        """Return the units that are sold to nobody any more, by SKU."""
        return _units((line.sku, line.written_off_quantity) for line in self.lines)


@dataclass(frozen=True, slots=True)
class ReceivedUnits:
    """How many units of a SKU a warehouse found in the parcel, and how many of them can be sold again."""

    sku: str
    quantity: int
    restock_quantity: int


def lines_to_return(
    lines: Iterable[OrderLine], wanted: Sequence[SkuQuantity], absent: Iterable[SkuQuantity] = ()
) -> tuple[ReturnLine, ...]:
    """
    Say which order lines the `wanted` units belong to: the latest lines of a SKU first.

    Units that are `absent` have not left: they are those of the latest lines, and cannot come back.

    :raises SkuNotInOrder: if the order has no such SKU.
    :raises ReturnExceedsOrder: if fewer units are left to return.
    """
    latest_first = sorted(lines, key=lambda line: -line.line)
    not_left = {one.sku: one.quantity for one in absent}
    found: list[ReturnLine] = []
    for index, units in enumerate(wanted):
        of_sku = [line for line in latest_first if line.sku == units.sku]
        if not of_sku:
            raise SkuNotInOrder(f"The order has no line of {units.sku}.", field=f"/lines/{index}/sku")
        missing = units.quantity
        passed_over = not_left.get(units.sku, 0)
        for line in of_sku:
            kept_back = min(passed_over, line.returnable_quantity)
            passed_over -= kept_back
            taken = min(missing, line.returnable_quantity - kept_back)
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


def inspect_return(
    arrived: Return, found: Sequence[InspectedUnits], *, inspected_at: datetime, inspected_by: str
) -> Return:
    """
    Return what becomes of a return once every unit that arrived was looked at.

    :raises ReturnNotReceived: if it has not arrived, or was inspected before.
    :raises InspectionIncomplete: if it is about other units than have arrived.
    """
    if arrived.status is not ReturnStatus.RECEIVED or arrived.inspected_at is not None:
        raise ReturnNotReceived(arrived.id, arrived.status)
    lines = [replace(line, refund_minor=0) for line in arrived.lines]
    seen = [0] * len(lines)
    for index, units in enumerate(found):
        missing = units.quantity
        for position, line in enumerate(lines):
            taken = min(missing, line.received_quantity - seen[position]) if line.sku == units.sku else 0
            if taken:
                share_minor = _share_of(arrived.lines[position], seen[position], taken)
                seen[position] += taken
                missing -= taken
                lines[position] = _with_result(line, units, taken, share_minor)
        if missing:
            raise InspectionIncomplete(
                f"{units.quantity - missing} units of {units.sku} are left to inspect.",
                field=f"/lines/{index}/quantity",
            )
    for position, line in enumerate(lines):
        if seen[position] != line.received_quantity:
            raise InspectionIncomplete(f"Not all units of {line.sku} that arrived were inspected.", field="/lines")
    return replace(
        arrived,
        status=ReturnStatus.INSPECTED,
        version=arrived.version + 1,
        lines=tuple(lines),
        inspection=tuple(found),
        inspected_at=inspected_at,
        inspected_by=inspected_by,
    )


def _share_of(line: ReturnLine, before: int, units: int) -> int:
    """Return what units of a line are worth, after those `before` them: all of them together are worth the line."""
    value, received = line.value_minor, line.received_quantity
    return value * (before + units) // received - value * before // received


def _with_result(line: ReturnLine, units: InspectedUnits, taken: int, worth_minor: int) -> ReturnLine:
    is_restocked = units.disposition is Disposition.RESTOCK
    # A share is rounded down, and never adds up to more than what the units are worth.
    share_minor = worth_minor * units.refund_percent // 100
    return replace(
        line,
        restocked_quantity=line.restocked_quantity + (taken if is_restocked else 0),
        written_off_quantity=line.written_off_quantity + (0 if is_restocked else taken),
        refund_minor=(line.refund_minor or 0) + share_minor,
    )


def agree_on_exchange(announced: Return) -> Return:
    """
    Return a return with what is to be paid for its exchange beside what comes back.

    :raises ExchangeCostsMore: if it costs more, and nothing to pay that with is given.
    :raises OrderTooExpensive: if it costs more than every reader of JSON represents exactly.
    """
    check_total(announced.wanted_minor)
    if announced.lacking_minor and announced.payment_token is None:
        raise ExchangeCostsMore(
            f"It costs {announced.wanted_minor} minor units, what comes back is worth {announced.credit_minor}; give"
            " a payment token for the difference.",
            field="/exchange_for",
        )
    return replace(announced, exchange_due_minor=announced.lacking_minor)


def exchanged_lines(inspected: Return) -> tuple[OrderLine, ...]:
    """Return the lines of what is sent in exchange at their prices, each with what it bears of what is to be paid."""
    prices = [one.quantity * one.unit_price_minor for one in inspected.exchange_for]
    borne = apportion(inspected.lacking_minor, prices)
    return tuple(
        OrderLine(
            line=number,
            sku=one.sku,
            quantity=one.quantity,
            unit_price_minor=one.unit_price_minor,
            charged_minor=minor,
        )
        for number, (one, minor) in enumerate(zip(inspected.exchange_for, borne, strict=True), start=1)
    )


def _units(pairs: Iterable[tuple[str, int]]) -> list[SkuQuantity]:
    units: dict[str, int] = {}
    for sku, quantity in pairs:
        units[sku] = units.get(sku, 0) + quantity
    return [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in units.items() if quantity]
