"""What becomes of an order that is short of something: what the customer wants, or what the shop does in a channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.orders.domain.order import OnShortage

# How the shop and its customers call it, with older names.
ON_SHORTAGE: Final[Mapping[str, OnShortage]] = {
    "cancel": "refuse",
    "refuse": "refuse",
    "split": "split",
    "partial": "split",
    "wait": "wait",
    "backorder": "backorder",
}
# What an order shows of it.
SHOWN: Final[Mapping[str, str]] = {"refuse": "cancel", "split": "split", "wait": "wait", "backorder": "backorder"}


@dataclass(frozen=True, slots=True)
class ShortagePolicy:
    """What the shop does by itself, and in certain channels instead."""

    default: str = "backorder"
    by_channel: Mapping[str, str] = field(default_factory=dict)

    def choose(self, wanted: str | None, channel: str) -> OnShortage:
        """Return what becomes of an order that says it `wanted` so, or nothing."""
        return ON_SHORTAGE[wanted or self.by_channel.get(channel, self.default)]
