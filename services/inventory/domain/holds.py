"""
Holds: units kept for a cart, a marketplace or a till before there is an order.

What a channel may ask for is its policy. A hold is a reservation with an end; whatever asks for it by name after that
end finds it expired, whether or not its units have been given to others yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal

from libs.common.errors import Conflict, Forbidden, Invalid
from libs.common.events.shapes import Destination, Shortage
from services.inventory.domain.reservations import OnShortage

Mode = Literal["all-or-nothing", "best-effort"]

# ISO 3166-1 leaves this code to its users; CLDR has it stand for a region that is not known.
ANYWHERE: Final = Destination(country="ZZ")
ON_SHORTAGE: Final[Mapping[Mode, OnShortage]] = {"all-or-nothing": "refuse", "best-effort": "best-effort"}


class HoldAgainstPolicy(Invalid):
    """The channel's policy does not allow what was asked for."""

    code = "hold-against-policy"


class ReservationExists(Conflict):
    """Something was reserved, or called off, under this id before; a new hold needs a new id."""

    code = "reservation-exists"


class NotAHold(Conflict):
    """The reservation belongs to an order: it is changed by what happens to the order."""

    code = "not-a-hold"


class HoldOfAnother(Forbidden):
    """Another caller made the hold; it is changed by that caller, or by one with the scope stock:manage."""

    code = "hold-of-another"


class HoldEnded(Conflict):
    """The hold was released, or all of it committed; there is nothing left to change."""

    code = "hold-ended"


class HoldExpired(Conflict):
    """The hold was not extended, committed or ordered in time; its units are free."""

    code = "hold-expired"


class HoldLifetimeExceeded(Conflict):
    """The hold would last longer than its channel may hold anything."""

    code = "hold-lifetime-exceeded"


class CommitExceedsHold(Conflict):
    """More units would be committed than are held."""

    code = "commit-exceeds-hold"


class HoldShort(Conflict):
    """The units are not there, or are promised to others: nothing is held."""

    code: ClassVar[str] = "insufficient-stock"

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        """`shortages` are what is missing, by SKU."""
        super().__init__(f"Too few units of {len(shortages)} of the SKUs; nothing is held.")
        self.shortages = tuple(shortages)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPolicy:
    """
    What a channel may hold, and for how long.

    A hold lasts `ttl_seconds_default` unless it asks for another time up to `ttl_seconds_max`; with extensions it
    lasts `lifetime_seconds_max` at most. It holds up to `units_per_sku_max` of each SKU that it names.
    """

    ttl_seconds_default: int = 15 * 60
    ttl_seconds_max: int = 60 * 60
    lifetime_seconds_max: int = 24 * 60 * 60
    units_per_sku_max: int = 1_000
    modes: frozenset[Mode] = frozenset({"all-or-nothing", "best-effort"})

    def check(self, wanted: Mapping[str, int], mode: Mode) -> None:
        """
        Check what is asked for at once.

        :raises HoldAgainstPolicy: if it is not allowed.
        """
        if mode not in self.modes:
            raise HoldAgainstPolicy(f"This channel holds {' or '.join(sorted(self.modes))}.", field="/mode")
        for sku, units in wanted.items():
            if units > self.units_per_sku_max:
                raise HoldAgainstPolicy(
                    f"This channel holds at most {self.units_per_sku_max} units of a SKU, not {units} of {sku}.",
                    field="/lines",
                )

    def ttl(self, seconds: int | None) -> timedelta:
        """
        Return how long a hold lasts from now on.

        :raises HoldAgainstPolicy: if that is longer than this channel may ask for.
        """
        if seconds is not None and seconds > self.ttl_seconds_max:
            raise HoldAgainstPolicy(
                f"This channel holds for at most {self.ttl_seconds_max} seconds at a time.", field="/ttl_seconds"
            )
        return timedelta(seconds=self.ttl_seconds_default if seconds is None else seconds)

    def extended(self, *, began_at: datetime, expires_at: datetime, now: datetime, ttl: timedelta) -> datetime:
        """
        Return until when a hold lasts that is extended now: `ttl` from now, and never shorter than before.

        :raises HoldLifetimeExceeded: if that is longer than any hold of this channel may last.
        """
        wanted = max(expires_at, now + ttl)
        latest = began_at + timedelta(seconds=self.lifetime_seconds_max)
        if wanted > latest:
            raise HoldLifetimeExceeded(f"It can be held until {latest.isoformat()} at most.", field="/ttl_seconds")
        return wanted


DEFAULT_HOLD_POLICY: Final = HoldPolicy()


@dataclass(frozen=True, slots=True)
class HoldPolicies:
    """The policies by channel; a channel without one has the default."""

    by_channel: Mapping[str, HoldPolicy] = field(default_factory=dict)
    default: HoldPolicy = DEFAULT_HOLD_POLICY

    def of(self, channel: str | None) -> HoldPolicy:
        """Return the policy of a channel."""
        return self.by_channel.get(channel or "", self.default)
