"""The sandbox provider's own books, as its customers may read them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from libs.common.db import Database
from services.orders.handlers.settlement import Charge

_CHARGES: Final = """
SELECT reference, currency, authorised_minor - captured_minor - voided_minor AS held_minor, captured_minor,
       refunded_minor
FROM sandbox.sandbox_charges WHERE reference = ANY($1::text[])
"""
_STATEMENT: Final = """
SELECT DISTINCT reference FROM sandbox.sandbox_operations
WHERE kind = 'authorise' AND outcome = 'succeeded' AND created_at >= $1 AND created_at < $2 AND reference > $3
ORDER BY reference LIMIT $4
"""
_PAGE: Final = 500


class SandboxBooks:
    """`ProviderBooks` of the sandbox provider."""

    def __init__(self, database: Database) -> None:
        """`database` is the provider's own."""
        self._database = database

    async def charges(self, references: Sequence[str]) -> Mapping[str, Charge | None]:
        """Return what is known of authorisations (see `ProviderBooks.charges`)."""
        async with self._database.transaction() as transaction:
            rows = await (await transaction.driver()).fetch(_CHARGES, list(references))
        found = {row["reference"]: Charge(**row) for row in rows}
        return {reference: found.get(reference) for reference in references}

    async def statement(self, *, since: datetime, until: datetime) -> AsyncIterator[Sequence[Charge]]:
        """Yield everything that was authorised in a period (see `ProviderBooks.statement`)."""
        after = ""
        while True:
            async with self._database.transaction() as transaction:
                rows = await (await transaction.driver()).fetch(_STATEMENT, since, until, after, _PAGE)
            if not rows:
                return
            after = rows[-1]["reference"]
            found = await self.charges([row["reference"] for row in rows])
            yield [charge for charge in found.values() if charge is not None]
