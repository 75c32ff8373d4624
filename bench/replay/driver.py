"""Plays a script against the running shop, in the order of event time."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field

from bench.replay.api import Refused
from bench.replay.facts import Sale
from bench.replay.geography import WAREHOUSES
from bench.replay.matching import GoodsBack
from bench.replay.pace import Pace
from bench.replay.products import CATEGORIES, OTHER_CATEGORY
from bench.replay.progress import Step, Steps
from bench.replay.shop import Shop
from bench.replay.taking_back import Outcome, TakingBack
from bench.replay.timeline import Script, Slice, slices
from libs.common.clock import Clock

ORDERS_IN_FLIGHT_MAX = 32
# The last parcels need days of compressed time, payments that answer late a little more.
_FOLLOW_UP_TIMEOUT_SECONDS = 300.0


@dataclass(slots=True, kw_only=True)
class Played:
    """What the replay did; `refusals` are answers that no request of it should get."""

    orders: int = 0
    views: int = 0
    stock_events: int = 0
    trading_seconds: float = 0.0
    retries: int = 0
    cancellations: int = 0
    taken_back: Counter[Outcome] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)

    @property
    def orders_per_second(self) -> float:
        """Return how fast orders were placed, views, deliveries and cancellations between them."""
        return self.orders / self.trading_seconds if self.trading_seconds else 0.0

    @property
    def unfinished(self) -> int:
        """Return how many parts of cancellations came to no end in time."""
        return self.cancellations - self.taken_back.total()

    @property
    def is_complete(self) -> bool:
        """Whether every request was accepted and every cancellation came to an end."""
        return not self.refusals and not self.unfinished


class Driver:
    """One replay."""

    def __init__(self, script: Script, shop: Shop, *, steps: Steps, speed: float, clock: Clock) -> None:
        """`speed` is how many seconds of event time may pass in a real one; 0 is as fast as it goes."""
        self._script = script
        self._shop = shop
        self._steps = steps
        self._speed = speed
        self._clock = clock
        self._in_flight = asyncio.Semaphore(ORDERS_IN_FLIGHT_MAX)
        self._order_ids: dict[str, str] = {}
        self._taking_back = TakingBack(shop)
        self._played = Played()

    async def play(self) -> Played:
        """Set the shop up, then let its days pass."""
        await self._list_products()
        await self._open_warehouses()
        await self._trade()
        self._played.retries = self._shop.retries
        self._played.taken_back = self._taking_back.outcomes
        self._played.cancellations = len(self._script.matching.goods_back)
        return self._played

    async def _list_products(self) -> None:
        products = self._script.products
        with self._steps.step("Products", total=len(products)) as step:
            await self._shop.list_categories((*CATEGORIES, OTHER_CATEGORY))
            await self._shop.list_products(products, done=step.advance)

    async def _open_warehouses(self) -> None:
        with self._steps.step("Warehouses (synthetic)", total=len(WAREHOUSES)) as step:
            for site in WAREHOUSES:
                await self._shop.open_warehouse(site)
                step.advance()
        opening = self._script.supply.opening
        with self._steps.step("Opening stock (derived)", total=len(opening)) as step:
            await self._shop.receive_goods(opening, done=step.advance)
        self._played.stock_events += len(opening)

    async def _trade(self) -> None:
        takes_back = len(self._script.matching.goods_back)
        # Cancellations outlive the hour they belong to: most wait for their order's parcels.
        with (
            self._steps.step("Orders", total=len(self._script.sales)) as orders,
            self._steps.step("Cancellations and returns", total=takes_back) as returns,
            contextlib.suppress(TimeoutError),
        ):
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as follow_ups:
                await self._play_all(orders, returns, follow_ups)
                self._taking_back.close()
                limit.reschedule(asyncio.get_running_loop().time() + _FOLLOW_UP_TIMEOUT_SECONDS)

    async def _play_all(self, orders: Step, returns: Step, follow_ups: asyncio.TaskGroup) -> None:
        started_at = self._clock.monotonic_seconds()
        pace = Pace(begins_at=self._script.begins_at, speed=self._speed, clock=self._clock)
        for part in slices(self._script):
            await pace.wait_for(part.begins_at)
            orders.note(f"{part.begins_at:%d %B %Y}")
            await self._play(part, orders)
            for goods_back in part.goods_back:
                follow_ups.create_task(self._take_back(goods_back, returns))
        self._played.trading_seconds = self._clock.monotonic_seconds() - started_at

    async def _play(self, part: Slice, orders: Step) -> None:
        await self._shop.receive_goods(part.deliveries, done=_ignored)
        await self._shop.show_products(part.views, done=_ignored)
        self._played.stock_events += len(part.deliveries)
        self._played.views += len(part.views)
        async with asyncio.TaskGroup() as group:
            for sale in part.sales:
                # Taken here and not in the task, so that orders start in the order of their times.
                await self._in_flight.acquire()
                group.create_task(self._place(sale, orders))

    async def _place(self, sale: Sale, step: Step) -> None:
        try:
            self._order_ids[sale.invoice] = await self._shop.place_order(sale)
            self._played.orders += 1
        except Refused as refusal:
            self._played.refusals.append(str(refusal))
        finally:
            self._in_flight.release()
        step.advance()

    async def _take_back(self, goods_back: GoodsBack, step: Step) -> None:
        order_id = self._order_ids.get(goods_back.sale)
        try:
            # An order that could not be placed has been shown already.
            if order_id is not None:
                await self._taking_back.take_back(order_id, goods_back)
        except Refused as refusal:
            self._played.refusals.append(str(refusal))
        step.advance()


def _ignored(_rows: int) -> None:
    """Deliveries and views have no bar of their own: the orders' shows where the day is."""
