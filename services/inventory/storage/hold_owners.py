"""Who made which hold."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from libs.common.db import Transaction

_FIND: Final = "SELECT reservation_id, owner FROM hold_owners WHERE reservation_id = ANY($1::uuid[])"
_ADD: Final = "INSERT INTO hold_owners (reservation_id, owner) SELECT * FROM unnest($1::uuid[], $2::text[])"


class PostgresHoldOwners:
    """The owners of holds, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def of(self, reservation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return the owners of those holds that have one."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_FIND, list(reservation_ids))
        return {row["reservation_id"]: row["owner"] for row in rows}

    def add(self, owners: Mapping[UUID, str]) -> None:
        """Note the owners of new holds; they are written before the transaction commits."""
        self._transaction.defer(_ADD, list(owners), list(owners.values()))
