"""The parcels that the simulator moves."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.logistics.domain.geography import Site, coordinates_of
from services.logistics.domain.simulation import Parcel
from services.logistics.handlers.simulation import Simulation

_PARCEL: Final = """
shipments.id, shipments.ready_at, shipments.transit_days, shipments.origin_country,
shipments.origin_latitude, shipments.origin_longitude, shipments.destination_country,
shipments.destination_latitude, shipments.destination_longitude
"""
# Built from the constant above only.
_PLANNED_WITHOUT: Final = f"""
SELECT {_PARCEL} FROM shipments
WHERE status = 'planned'
  AND NOT EXISTS (SELECT FROM simulations WHERE simulations.shipment_id = shipments.id)
ORDER BY planned_at, id LIMIT $1
"""  # noqa: S608
_CLAIM_DUE: Final = f"""
SELECT simulations.started_at, simulations.steps_done, simulations.next_step_at, {_PARCEL}
FROM simulations JOIN shipments ON shipments.id = simulations.shipment_id
WHERE next_step_at <= $1 ORDER BY next_step_at LIMIT $2
FOR UPDATE OF simulations SKIP LOCKED
"""  # noqa: S608
_START: Final = """
INSERT INTO simulations (shipment_id, started_at, steps_done, next_step_at)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::int2[], $4::timestamptz[])
ON CONFLICT DO NOTHING
"""
_ADVANCE: Final = """
UPDATE simulations SET steps_done = rows.steps_done, next_step_at = rows.next_step_at
FROM unnest($1::uuid[], $2::int2[], $3::timestamptz[]) AS rows (shipment_id, steps_done, next_step_at)
WHERE simulations.shipment_id = rows.shipment_id
"""


class PostgresSimulations:
    """The simulations as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work inside `transaction`."""
        self._transaction = transaction

    async def planned_without(self, *, limit: int) -> Sequence[Parcel]:
        """Return planned shipments that no simulation has yet, first planned first."""
        driver = await self._transaction.driver()
        return [_parcel(row) for row in await driver.fetch(_PLANNED_WITHOUT, limit)]

    async def start(self, simulations: Sequence[Simulation]) -> None:
        """Add simulations; those that another simulator added first stay as they are."""
        driver = await self._transaction.driver()
        ordered = sorted(simulations, key=lambda one: one.parcel.shipment_id)
        await driver.execute(
            _START,
            [one.parcel.shipment_id for one in ordered],
            [one.started_at for one in ordered],
            [one.steps_done for one in ordered],
            [one.next_step_at for one in ordered],
        )

    async def claim_due(self, *, now: datetime, limit: int) -> Sequence[Simulation]:
        """Return simulations with a step due, locked; those that another simulator holds are passed over."""
        driver = await self._transaction.driver()
        return [
            Simulation(
                parcel=_parcel(row),
                started_at=row["started_at"],
                steps_done=row["steps_done"],
                next_step_at=row["next_step_at"],
            )
            for row in await driver.fetch(_CLAIM_DUE, now, limit)
        ]

    async def advance(self, simulations: Sequence[Simulation]) -> None:
        """Store how far simulations are."""
        driver = await self._transaction.driver()
        await driver.execute(
            _ADVANCE,
            [one.parcel.shipment_id for one in simulations],
            [one.steps_done for one in simulations],
            [one.next_step_at for one in simulations],
        )

    async def end(self, shipment_ids: Collection[UUID]) -> None:
        """Forget simulations."""
        driver = await self._transaction.driver()
        await driver.execute("DELETE FROM simulations WHERE shipment_id = ANY($1)", list(shipment_ids))


def _parcel(row: asyncpg.Record) -> Parcel:
    return Parcel(
        shipment_id=row["id"],
        ready_at=row["ready_at"],
        transit_days=row["transit_days"],
        origin=Site(row["origin_country"], coordinates_of(row["origin_latitude"], row["origin_longitude"]))
        if row["origin_country"]
        else None,
        destination=Site(
            row["destination_country"],
            coordinates_of(row["destination_latitude"], row["destination_longitude"]),
        ),
    )
