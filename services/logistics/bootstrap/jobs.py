"""Work that nobody asks for: measuring, forgetting, and moving simulated parcels."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.http.idempotency import purge_idempotency_keys
from libs.common.messaging import inbox
from services.logistics import metrics
from services.logistics.handlers.facts import count_movements
from services.logistics.handlers.ports import Desk
from services.logistics.handlers.simulation import (
    Pace,
    advance_simulations,
    start_simulations,
)
from services.logistics.storage.simulations import PostgresSimulations
from services.logistics.storage.views import PostgresShipmentViews


class Housekeeping:
    """Keeps the gauges current and the tables small."""

    def __init__(self, *, database: Database, clock: Clock, key_lifetime: timedelta) -> None:
        """Nothing happens before a method is called."""
        self._database = database
        self._clock = clock
        self._key_lifetime = key_lifetime

    async def measure(self) -> int:
        """Count the shipments that are not finished."""

        async def work(transaction: Transaction) -> None:
            for status, shipments in (await PostgresShipmentViews(transaction).live()).items():
                metrics.shipments_live.labels(status).set(shipments)

        await self._database.run(work)
        return 0

    async def purge(self) -> int:
        """Forget idempotency keys and inbox entries that nobody can send again; return how many keys."""

        async def work(transaction: Transaction) -> int:
            await inbox.purge(transaction)
            return await purge_idempotency_keys(transaction, now=self._clock.now(), older_than=self._key_lifetime)

        return await self._database.run(work)


class Simulator:
    """Moves parcels that nobody else moves; runs only where its role does."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        open_desk: Callable[[Transaction], Desk],
        pace: Pace,
        eta_threshold: timedelta,
    ) -> None:
        """Move at `pace`."""
        self._database = database
        self._clock = clock
        self._open_desk = open_desk
        self._pace = pace
        self._eta_threshold = eta_threshold

    async def work(self) -> int:
        """Take on new parcels and take the steps that are due; return how many of both."""
        return await self._database.run(self._start) + await self._database.run(self._advance)

    async def _start(self, transaction: Transaction) -> int:
        return await start_simulations(
            simulations=PostgresSimulations(transaction), pace=self._pace, now=self._clock.now()
        )

    async def _advance(self, transaction: Transaction) -> int:
        desk = self._open_desk(transaction)
        moved = await advance_simulations(
            simulations=PostgresSimulations(transaction),
            shipments=desk.shipments,
            outbox=desk.outbox,
            pace=self._pace,
            now=self._clock.now(),
            eta_threshold=self._eta_threshold,
        )
        if moved:
            transaction.after_commit(partial(count_movements, moved))
            transaction.after_commit(partial(metrics.simulated_steps_total.inc, len(moved)))
        return len(moved)
