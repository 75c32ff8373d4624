"""The money of one order, as booked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.orders.domain.ledger import Account, Fact
from services.orders.handlers.settlement import OrderMoney


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedTransfer:
    """A fact about a payment step, and the accounts between which it moved an amount."""

    step_id: UUID
    fact: Fact
    debit: Account
    credit: Account
    amount_minor: int
    currency: str
    booked_at: datetime


class Ledger(Protocol):
    """The ledger."""

    async def of_order(self, order_id: UUID) -> Sequence[BookedTransfer]:
        """Return what was booked for an order, oldest first."""
        ...

    async def page(self, *, after: UUID, before: UUID, limit: int) -> Sequence[OrderMoney]:
        """Return the money of orders between two ids, with what the ledger says of it."""
        ...

    async def known(self, provider: str, references: Sequence[str]) -> set[str]:
        """Return those of a provider's references that belong to an order."""
        ...
