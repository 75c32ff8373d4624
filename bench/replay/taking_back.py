"""How a cancellation of the data reaches the shop: as a cancellation, or as a return and a refund."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol

from bench.replay.api import Refused
from bench.replay.matching import GoodsBack
from bench.replay.shop import OrderState

# Goods on their way arrive in seconds of compressed time; asking more often would only be load.
_ASK_SECONDS_MIN = 0.5
_ASK_SECONDS_MAX = 4.0
# Those who wait for their parcels must not take the connections of those who buy.
_AT_ONCE_MAX = 8

_SHIPPED = frozenset({"shipped", "delivered", "settled"})
_CALLED_OFF = frozenset({"cancelled", "refused"})
# Without new goods nothing moves these any more.
_STUCK = frozenset({"backordered", "held"})
_ALREADY_SHIPPED = "order-already-shipped"
_ALREADY_REFUSED = "order-already-refused"


class Outcome(StrEnum):
    """What became of one part of a cancellation."""

    CANCELLED = "cancelled before it shipped"
    RETURNED = "returned and refunded"
    MOOT = "moot: the order was refused or cancelled before"
    WAITING = "waiting: the order has not shipped"


class Orders(Protocol):
    """What taking goods back needs of the shop."""

    async def order(self, order_id: str) -> OrderState:
        """Look at an order."""
        ...

    async def cancel_order(self, order_id: str, goods_back: GoodsBack) -> OrderState:
        """Call an order off."""
        ...

    async def return_goods(self, order: OrderState, goods_back: GoodsBack) -> None:
        """Send goods of a shipped order back."""
        ...


class TakingBack:
    """Takes goods back, each part as soon as its order has reached a stage that allows it."""

    def __init__(self, shop: Orders, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """`sleep` is how it waits between two looks at an order."""
        self._shop = shop
        self._sleep = sleep
        self._at_once = asyncio.Semaphore(_AT_ONCE_MAX)
        self._is_closing = False
        self.outcomes: Counter[Outcome] = Counter()

    def close(self) -> None:
        """Stop waiting for orders that only new goods could move: there will be none."""
        self._is_closing = True

    async def take_back(self, order_id: str, goods_back: GoodsBack) -> Outcome:
        """Cancel the order if that is what was wanted and still possible, else return the goods."""
        outcome = None
        if goods_back.is_whole:
            outcome = await self._cancel(order_id, goods_back)
        if outcome is None:
            outcome = await self._return_once_shipped(order_id, goods_back)
        self.outcomes[outcome] += 1
        return outcome

    async def _cancel(self, order_id: str, goods_back: GoodsBack) -> Outcome | None:
        """Return None if the order has left, or may still leave, the warehouse."""
        async with self._at_once:
            try:
                order = await self._shop.cancel_order(order_id, goods_back)
            except Refused as refusal:
                return _after_refusal(refusal)
        return Outcome.CANCELLED if order.status == "cancelled" else None

    async def _return_once_shipped(self, order_id: str, goods_back: GoodsBack) -> Outcome:
        wait_seconds = _ASK_SECONDS_MIN
        while True:
            async with self._at_once:
                order = await self._shop.order(order_id)
                if order.status in _SHIPPED:
                    await self._shop.return_goods(order, goods_back)
                    return Outcome.RETURNED
            if order.status in _CALLED_OFF:
                # A whole cancellation that had to ask logistics first ends here too.
                is_ours = goods_back.is_whole and order.status == "cancelled"
                return Outcome.CANCELLED if is_ours else Outcome.MOOT
            if self._is_closing and order.status in _STUCK:
                return Outcome.WAITING
            await self._sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 1.5, _ASK_SECONDS_MAX)


def _after_refusal(refusal: Refused) -> Outcome | None:
    """Return what it means that an order cannot be called off."""
    if refusal.status == HTTPStatus.CONFLICT and refusal.code == _ALREADY_SHIPPED:
        return None
    if refusal.status == HTTPStatus.CONFLICT and refusal.code == _ALREADY_REFUSED:
        return Outcome.MOOT
    raise refusal
