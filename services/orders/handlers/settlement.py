"""
Settlement: orders, the ledger and the payment providers' own books, compared order by order.

Whatever differs is money that somebody is wrong about. What is under way differs for a moment and is not counted.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Protocol
from uuid import UUID

from libs.common.errors import Unavailable

_PAGE_ORDERS: Final = 200
# An id begins with its time in milliseconds (RFC 9562, version 7).
_TIME_SHIFT: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMoney:
    """What this service believes of an order's money, in minor units; `is_in_flight` while a step is not resolved."""

    order_id: UUID
    status: str
    provider: str
    reference: str | None
    currency: str
    total_minor: int
    authorised_minor: int
    captured_minor: int
    refunded_minor: int
    voided_minor: int
    is_in_flight: bool
    ledger_clearing_minor: int
    ledger_held_minor: int
    # Of what was authorised for edits, beside the first.
    further_references: Sequence[str] = ()

    @property
    def held_minor(self) -> int:
        """What the provider should still hold."""
        return self.authorised_minor - self.captured_minor - self.voided_minor

    @property
    def ledger_drift_minor(self) -> int:
        """By how much the ledger is off from the payment; 0 unless there is a fault."""
        clearing = self.captured_minor - self.refunded_minor
        return abs(self.ledger_clearing_minor - clearing) + abs(self.ledger_held_minor - self.held_minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a provider's books say about one authorisation, in minor units."""

    reference: str
    currency: str
    held_minor: int
    captured_minor: int
    refunded_minor: int


class BooksUnreadable(Unavailable):
    """A payment provider does not show its books now; the same report may succeed later."""

    code: ClassVar[str] = "provider-books-unreadable"

    def __init__(self, provider: str) -> None:
        """Name the provider."""
        super().__init__(f"The books of {provider} cannot be read now.")


class ProviderBooks(Protocol):
    """A payment provider's own view."""

    async def charges(self, references: Sequence[str]) -> Mapping[str, Charge | None]:
        """Return what is known of authorisations: None for what does not exist, nothing for what has no answer."""
        ...

    def statement(self, *, since: datetime, until: datetime) -> AsyncIterator[Sequence[Charge]]:
        """
        Yield everything that was authorised in a period, a page at a time.

        :raises BooksUnreadable: if the provider does not answer.
        """
        ...


class SettlementState(StrEnum):
    """How an order and its provider agree."""

    MATCHED = "matched"
    IN_FLIGHT = "in-flight"
    DIFFERS = "differs"
    MISSING_AT_PROVIDER = "missing-at-provider"
    UNKNOWN_TO_US = "unknown-to-us"
    # The provider did not answer, or has no books that can be read.
    NOT_COMPARED = "not-compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementLine:
    """One order, or one charge that belongs to none, as both sides see it; `drift_minor` is what is off."""

    state: SettlementState
    provider: str
    reference: str | None
    currency: str
    order: OrderMoney | None = None
    charge: Charge | None = None
    provider_drift_minor: int = 0

    @property
    def drift_minor(self) -> int:
        """What is off, in the ledger or at the provider."""
        return self.provider_drift_minor + (0 if self.order is None else self.order.ledger_drift_minor)


Read = Callable[[UUID, UUID, int], Awaitable[Sequence[OrderMoney]]]
Known = Callable[[str, Sequence[str]], Awaitable[set[str]]]


def id_at(moment: datetime) -> UUID:
    """Return the smallest id that can be given at a time."""
    return UUID(int=int(moment.timestamp() * 1000) << _TIME_SHIFT)


async def compare(
    *, since: datetime, until: datetime, read: Read, known: Known, books: Mapping[str, ProviderBooks]
) -> AsyncIterator[list[SettlementLine]]:
    """Yield the lines of a period: those of its orders, then charges that belong to no order."""
    after, before = id_at(since), id_at(until)
    while page := await read(after, before, _PAGE_ORDERS):
        yield await compare_page(page, books)
        after = page[-1].order_id
    for provider, ledger in books.items():
        async for charges in ledger.statement(since=since, until=until):
            ours = await known(provider, [charge.reference for charge in charges])
            strays = [charge for charge in charges if charge.reference not in ours]
            if strays:
                yield [_stray(provider, charge) for charge in strays]


async def compare_page(page: Sequence[OrderMoney], books: Mapping[str, ProviderBooks]) -> list[SettlementLine]:
    """Compare some orders with their providers' books."""
    charges: dict[tuple[str, str], Charge | None] = {}
    for provider, ledger in books.items():
        wanted = [reference for one in page if one.provider == provider for reference in _references(one)]
        if wanted:
            found = await ledger.charges(wanted)
            charges.update({(provider, reference): charge for reference, charge in found.items()})
    return [_line(one, charges) for one in page]


def _line(order: OrderMoney, charges: Mapping[tuple[str, str], Charge | None]) -> SettlementLine:
    keys = [(order.provider, reference) for reference in _references(order)]
    charge = _added_up([charges.get(key) for key in keys])
    drift = 0
    if order.is_in_flight:
        state = SettlementState.IN_FLIGHT
    elif order.reference is None:
        # Nothing was ever held: there is nothing that a provider could know.
        state = SettlementState.MATCHED
    elif any(key not in charges for key in keys):
        state = SettlementState.NOT_COMPARED
    elif charge is None:
        state, drift = (
            SettlementState.MISSING_AT_PROVIDER,
            order.captured_minor - order.refunded_minor + order.held_minor,
        )
    else:
        drift = _difference(order, charge)
        state = SettlementState.DIFFERS if drift else SettlementState.MATCHED
    if order.ledger_drift_minor:
        state = SettlementState.DIFFERS
    return SettlementLine(
        state=state,
        provider=order.provider,
        reference=order.reference,
        currency=order.currency,
        order=order,
        charge=charge,
        provider_drift_minor=drift,
    )


def _references(order: OrderMoney) -> list[str]:
    return [] if order.reference is None else [order.reference, *order.further_references]


def _added_up(charges: Sequence[Charge | None]) -> Charge | None:
    """Return what a provider says about all authorisations of an order; None if one of them does not exist."""
    found = [one for one in charges if one is not None]
    if not found or len(found) < len(charges):
        return None
    return replace(
        found[0],
        held_minor=sum(one.held_minor for one in found),
        captured_minor=sum(one.captured_minor for one in found),
        refunded_minor=sum(one.refunded_minor for one in found),
    )


def _difference(order: OrderMoney, charge: Charge) -> int:
    if charge.currency != order.currency:
        return order.authorised_minor
    return (
        abs(charge.captured_minor - order.captured_minor)
        + abs(charge.refunded_minor - order.refunded_minor)
        + abs(charge.held_minor - order.held_minor)
    )


def _stray(provider: str, charge: Charge) -> SettlementLine:
    return SettlementLine(
        state=SettlementState.UNKNOWN_TO_US,
        provider=provider,
        reference=charge.reference,
        currency=charge.currency,
        charge=charge,
        provider_drift_minor=charge.held_minor + charge.captured_minor - charge.refunded_minor,
    )


@dataclass(slots=True)
class MoneyAudit:
    """
    One round after the other over the orders of the last days, a page at a time.

    `drift_minor`, by currency and by books (`ledger`, `provider`), is the larger of what the last round found and what
    this one has found so far.
    """

    _after: UUID | None = None
    _last_round: dict[tuple[str, str], int] = field(default_factory=dict)
    _this_round: dict[tuple[str, str], int] = field(default_factory=dict)

    def drift_minor(self) -> dict[tuple[str, str], int]:
        """Return what does not add up, by currency and books; 0 unless there is a fault."""
        keys = self._last_round.keys() | self._this_round.keys()
        return {key: max(self._last_round.get(key, 0), self._this_round.get(key, 0)) for key in keys}

    async def next_page(
        self, *, since: datetime, until: datetime, read: Read, books: Mapping[str, ProviderBooks]
    ) -> bool:
        """Audit the next orders; return whether the round goes on."""
        page = await read(max(self._after or id_at(since), id_at(since)), id_at(until), _PAGE_ORDERS)
        for line in await compare_page(page, books):
            ledger_drift = 0 if line.order is None else line.order.ledger_drift_minor
            for kind, drift in (("ledger", ledger_drift), ("provider", line.provider_drift_minor)):
                key = (line.currency, kind)
                self._this_round[key] = self._this_round.get(key, 0) + drift
        if len(page) == _PAGE_ORDERS:
            self._after = page[-1].order_id
            return True
        self._last_round, self._this_round, self._after = self._this_round, {}, None
        return False
