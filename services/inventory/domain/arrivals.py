"""
Goods on their way: announced by a buyer or warehouse, or sent by another warehouse.

The latest announcement of a reference holds, whatever order they come in; what is received under it uses it up.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

BEFORE_ALL_REPORTS: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOBODY: Final = UUID(int=0)
# What a storefront is told of one SKU: the soonest ones.
SHOWN_MAX: Final = 10


class ArrivalKind(StrEnum):
    """Where goods come from."""

    PURCHASE = "purchase"
    TRANSFER = "transfer"


class ArrivalKey(NamedTuple):
    """What goods of one SKU arrive under: a supplier's or buyer's document, or a transfer's id."""

    warehouse: str
    kind: ArrivalKind
    reference: str


@dataclass(slots=True)
class Arrival:
    """
    Units of one SKU that are expected under one key.

    `units` were announced for `expected_at` by the event `announced_by` at `announced_at`; none means that it was
    called off. `received` of them have come.
    """

    units: int = 0
    received: int = 0
    expected_at: datetime = BEFORE_ALL_REPORTS
    announced_at: datetime = BEFORE_ALL_REPORTS
    announced_by: UUID = _NOBODY

    @property
    def is_announced(self) -> bool:
        """Whether anybody ever said that it would come."""
        return self.announced_by != _NOBODY

    @property
    def left(self) -> int:
        """Units that have yet to come."""
        return max(0, self.units - self.received)

    def announce(self, units: int, *, expected_at: datetime, announced_at: datetime, announced_by: UUID) -> bool:
        """Take an announcement; return whether it holds because none that is known is later."""
        if (announced_at, announced_by) <= (self.announced_at, self.announced_by):
            return False
        self.units, self.expected_at = units, expected_at
        self.announced_at, self.announced_by = announced_at, announced_by
        return True


def arrival_of_transfer(transfer_id: UUID, destination: str) -> ArrivalKey:
    """Return what a transfer's goods arrive under."""
    return ArrivalKey(destination, ArrivalKind.TRANSFER, str(transfer_id))


def expected_when(
    arrivals: Iterable[tuple[ArrivalKey, Arrival]], units: int, *, places: Collection[str], now: datetime
) -> datetime | None:
    """Return when so many units should have come to certain warehouses, None if nobody has announced that many."""
    ahead = [one for key, one in arrivals if key.warehouse in places and one.left and one.expected_at > now]
    for one in sorted(ahead, key=lambda arrival: arrival.expected_at):
        units -= one.left
        if units <= 0:
            return one.expected_at
    return None


def soonest(arrivals: Iterable[tuple[ArrivalKey, Arrival]], now: datetime) -> list[tuple[ArrivalKey, Arrival]]:
    """Return the next arrivals in time; one whose time has passed says nothing of when it will come."""
    ahead = [pair for pair in arrivals if pair[1].left and pair[1].expected_at > now]
    ahead.sort(key=lambda pair: (pair[1].expected_at, pair[0]))
    return ahead[:SHOWN_MAX]
