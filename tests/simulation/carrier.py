"""Logistics, and those who pack its parcels and carry them: they leave after a while, and most of them arrive."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from libs.common.db import Transaction, is_transient
from libs.common.events.base import Envelope
from libs.common.messaging.consumer import Subscription
from services.logistics.consumers import PlanningHandler, planning
from services.logistics.domain.shipment import Shipment, Status, Step
from services.logistics.handlers.movements import Movement, record_movements
from services.logistics.handlers.ports import Desk
from tests.simulation.logistics_store import POLICY, memory_desk
from tests.simulation.store import MemoryDatabase, session_of
from tests.simulation.world import World

_STEP_SECONDS: Final = 3.0
MOVING: Final = frozenset({Status.PLANNED, Status.DISPATCHED})


@dataclass(frozen=True, slots=True)
class Logistics:
    """One process of the service; every `losses`-th parcel or so is lost on its way."""

    world: World
    database: MemoryDatabase
    wake_relay: Callable[[], None]
    losses: float = 0.0

    def subscription(self) -> Subscription:
        """Return what it listens to."""
        handler = PlanningHandler(policy=POLICY, clock=self.world.clock, open_desk=self._desk)

        async def handle(batch: Sequence[Envelope], transaction: Transaction) -> None:
            session = session_of(transaction)
            for envelope in batch:
                # An effect that would be there twice, were the event applied twice.
                session.put("counted_events", envelope.id, (session.get("counted_events", envelope.id) or 0) + 1)
            await handler(batch, transaction)

        return replace(planning(handler), handle=handle)

    async def move(self, stop: asyncio.Event) -> None:
        """Let parcels leave and arrive, one at a time."""
        chance = self.world.chance
        while not stop.is_set():
            await asyncio.sleep(chance.uniform(0.5, 2 * _STEP_SECONDS))
            rows = self.database.store.table("shipments").values()
            moving = sorted((one for one in rows if one.status in MOVING), key=lambda one: one.id)
            if not moving:
                continue
            chosen = chance.choice(moving)
            try:
                await self.database.run(partial(self._report, chosen))
            except Exception as error:
                if not is_transient(error):
                    raise

    async def _report(self, parcel: Shipment, transaction: Transaction) -> None:
        """Report the next step of a parcel; it may have been stopped meanwhile, which the report then hears."""
        step = Step.DISPATCHED
        if parcel.status is Status.DISPATCHED:
            step = Step.FAILED if self.world.chance.random() < self.losses else Step.DELIVERED
        movement = Movement(shipment_id=parcel.id, step=step, reason="lost" if step is Step.FAILED else "")
        desk = self._desk(transaction)
        await record_movements(
            [movement],
            shipments=desk.shipments,
            outbox=desk.outbox,
            now=self.world.clock.now(),
            eta_threshold=timedelta(days=365),
        )

    def _desk(self, transaction: Transaction) -> Desk:
        return memory_desk(transaction, clock=self.world.clock, wake_relay=self.wake_relay)
