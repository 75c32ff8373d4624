"""Transfers as they are read."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from services.inventory.domain.transfers import Transfer, TransferStatus


class TransferPlace(NamedTuple):
    """Where a transfer stands in the list of all."""

    created_at: datetime
    transfer_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFilter:
    """Which transfers are wanted; None of each is all. `warehouse` is either end."""

    status: TransferStatus | None = None
    warehouse: str | None = None
    sku: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferView:
    """A transfer as it is now."""

    transfer: Transfer
    created_at: datetime
    changed_at: datetime


class TransferViews(Protocol):
    """The reads, in one transaction."""

    async def view(self, transfer_id: UUID) -> TransferView | None:
        """Return a transfer, None if there is none of this id."""
        ...

    async def page(self, wanted: TransferFilter, *, before: TransferPlace | None, limit: int) -> list[TransferView]:
        """Return transfers, the newest first, behind `before`."""
        ...
