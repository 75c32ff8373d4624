"""The rate table."""

from collections import defaultdict
from datetime import datetime
from typing import Any, Final

from libs.common.db import Transaction
from services.logistics.domain.carriers import Carrier, CarrierService, Rate, RateTable
from services.logistics.domain.geography import Zone

# One statement, so that the version and the rates are of the same moment.
_CURRENT: Final = """
SELECT rate_table.version AS table_version, carriers.carrier, carriers.name, carriers.currency,
       carriers.is_active, carriers.version, carrier_services.service,
       carrier_services.name AS service_name, carrier_services.cut_off, carrier_rates.zone,
       carrier_rates.distance_km_max, carrier_rates.base_minor, carrier_rates.per_kg_minor,
       carrier_rates.transit_days
FROM rate_table
LEFT JOIN carriers ON true
LEFT JOIN carrier_services USING (carrier)
LEFT JOIN carrier_rates USING (carrier, service)
ORDER BY carrier, service, carrier_rates.zone, carrier_rates.distance_km_max NULLS LAST
"""
_PUT_CARRIER: Final = """
INSERT INTO carriers (carrier, name, currency, is_active, version, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (carrier) DO UPDATE SET name = excluded.name, currency = excluded.currency,
    is_active = excluded.is_active, version = excluded.version, updated_at = excluded.updated_at
"""
_ADD_SERVICES: Final = """
INSERT INTO carrier_services (carrier, service, name, cut_off)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::time[])
"""
_ADD_RATES: Final = """
INSERT INTO carrier_rates
    (carrier, service, zone, distance_km_max, base_minor, per_kg_minor, transit_days)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int4[], $5::int8[], $6::int8[], $7::int4[])
"""


class PostgresRates:
    """The rate table as one transaction sees it."""

    def __init__(self, transaction: Transaction) -> None:
        """Work inside `transaction`."""
        self._transaction = transaction

    async def current(self) -> RateTable:
        """Return all carriers as of one moment, in the order of their codes."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_CURRENT)
        rates: dict[tuple[str, str], list[Rate]] = defaultdict(list)
        services: dict[str, dict[str, Any]] = defaultdict(dict)
        carriers: dict[str, Any] = {}
        for row in rows:
            if row["carrier"] is None:
                continue
            carriers[row["carrier"]] = row
            if row["service"] is None:
                continue
            services[row["carrier"]][row["service"]] = row
            if row["zone"] is not None:
                rates[row["carrier"], row["service"]].append(
                    Rate(
                        zone=Zone(row["zone"]),
                        distance_km_max=row["distance_km_max"],
                        base_minor=row["base_minor"],
                        per_kg_minor=row["per_kg_minor"],
                        transit_days=row["transit_days"],
                    )
                )
        return RateTable(
            version=rows[0]["table_version"],
            carriers=[
                Carrier(
                    carrier=code,
                    name=row["name"],
                    currency=row["currency"],
                    is_active=row["is_active"],
                    version=row["version"],
                    services=tuple(
                        CarrierService(
                            service=service,
                            name=service_row["service_name"],
                            cut_off=service_row["cut_off"],
                            rates=tuple(rates[code, service]),
                        )
                        for service, service_row in services[code].items()
                    ),
                )
                for code, row in carriers.items()
            ],
        )

    async def lock(self) -> int:
        """Return the table's version, locked: changes of rates happen one after the other."""
        driver = await self._transaction.driver()
        version: int = await driver.fetchval("SELECT version FROM rate_table FOR UPDATE")
        return version

    async def put(self, carrier: Carrier, *, table_version: int, now: datetime) -> None:
        """Store a carrier whole, as of a version of the table."""
        driver = await self._transaction.driver()
        await driver.execute("UPDATE rate_table SET version = $1", table_version)
        await driver.execute(
            _PUT_CARRIER,
            carrier.carrier,
            carrier.name,
            carrier.currency,
            carrier.is_active,
            carrier.version,
            now,
        )
        await driver.execute("DELETE FROM carrier_rates WHERE carrier = $1", carrier.carrier)
        await driver.execute("DELETE FROM carrier_services WHERE carrier = $1", carrier.carrier)
        await driver.execute(
            _ADD_SERVICES,
            carrier.carrier,
            [service.service for service in carrier.services],
            [service.name for service in carrier.services],
            [service.cut_off for service in carrier.services],
        )
        priced = [(service, rate) for service in carrier.services for rate in service.rates]
        await driver.execute(
            _ADD_RATES,
            carrier.carrier,
            [service.service for service, _ in priced],
            [rate.zone for _, rate in priced],
            [rate.distance_km_max for _, rate in priced],
            [rate.base_minor for _, rate in priced],
            [rate.per_kg_minor for _, rate in priced],
            [rate.transit_days for _, rate in priced],
        )
