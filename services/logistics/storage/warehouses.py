"""Where the warehouses are."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from libs.common.db import Transaction
from services.logistics.domain.geography import Facility, Site, coordinates_of

_PUT: Final = """
INSERT INTO warehouses (warehouse, country, latitude, longitude, version)
SELECT * FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[], $5::int8[])
ON CONFLICT (warehouse) DO UPDATE SET country = excluded.country, latitude = excluded.latitude,
    longitude = excluded.longitude, version = excluded.version
WHERE warehouses.version < excluded.version
"""
_FIND: Final = """
SELECT warehouse, country, latitude, longitude FROM warehouses WHERE warehouse = ANY($1)
"""


class PostgresWarehouses:
    """The warehouses as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work inside `transaction`."""
        self._transaction = transaction

    async def put(self, facilities: Sequence[Facility]) -> None:
        """Store facilities, one for each warehouse, unless a later version of it is known."""
        driver = await self._transaction.driver()
        ordered = sorted(facilities, key=lambda facility: facility.warehouse)
        points = [facility.site.coordinates for facility in ordered]
        await driver.execute(
            _PUT,
            [facility.warehouse for facility in ordered],
            [facility.site.country for facility in ordered],
            [point.latitude if point else None for point in points],
            [point.longitude if point else None for point in points],
            [facility.version for facility in ordered],
        )

    async def find(self, warehouses: Collection[str]) -> Mapping[str, Site]:
        """Return the sites of those that are known."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_FIND, list(warehouses))
        return {
            row["warehouse"]: Site(row["country"], coordinates_of(row["latitude"], row["longitude"])) for row in rows
        }
