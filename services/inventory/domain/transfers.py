"""Units on their way from one warehouse to another."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class TransferKey(NamedTuple):
    """One SKU of one transfer to one warehouse."""

    transfer_id: UUID
    sku: str
    destination: str


@dataclass(slots=True)
class Transfer:
    """
    What was reported of a transfer so far: both reports may come first.

    What arrives at another warehouse than it was sent to counts there, and stays in transit here until somebody
    corrects it.
    """

    dispatched: int = 0
    received: int = 0

    @property
    def in_transit(self) -> int:
        """Units that left and have not arrived."""
        return max(0, self.dispatched - self.received)
