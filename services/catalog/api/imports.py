"""Bulk imports: rows are applied in batches, and each of them is answered for."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeAlias, TypeVar

from libs.common.db import is_transient
from libs.common.errors import DomainError, Unavailable
from libs.common.http.ndjson import BulkTally, RowError
from libs.common.telemetry.logs import get_logger
from services.catalog.api.schemas import (
    CreateCategoryRequest,
    CreateProductRequest,
    ImportResult,
)
from services.catalog.domain.category import CategoryDetails
from services.catalog.domain.product import ProductDetails
from services.catalog.metrics import (
    catalog_import_batch_duration_seconds,
    catalog_import_rows_total,
)

Details = TypeVar("Details")

# One commit for so many rows; more would gain little and hold their locks longer.
BATCH_ROWS_MAX: Final = 500
_ATTEMPTS_MAX: Final = 4
_RETRY_SECONDS_MIN: Final = 0.1

# Applies wanted details by SKU or code in one transaction; returns for each whether it differed, or the refusal.
Apply: TypeAlias = Callable[[Mapping[str, Details]], Awaitable[Mapping[str, bool | DomainError]]]

log = get_logger()


class ImportInterrupted(Unavailable):
    """The database failed during an import; what was applied before stays, and the same file can be sent again."""

    code: ClassVar[str] = "import-interrupted"

    def __init__(self, tally: "ImportTally") -> None:
        """Say how far it came."""
        super().__init__(
            f"The database stopped answering after {tally.accepted} rows had been applied; the batch under way was"
            " not. Send the same file again: what is applied already counts as unchanged."
        )


@dataclass
class ImportTally(BulkTally):
    """Counts rows while an import runs."""

    unchanged: int = 0

    def answer(self) -> ImportResult:
        """Return what became of the rows."""
        result = self.result()
        return ImportResult(
            accepted=result.accepted,
            unchanged=self.unchanged,
            rejected=result.rejected,
            errors=result.errors,
        )

    def count(self) -> None:
        """Add the rows to the metrics."""
        for outcome, rows in (
            ("accepted", self.accepted),
            ("unchanged", self.unchanged),
            ("rejected", self.rejected),
        ):
            catalog_import_rows_total.labels(outcome).inc(rows)


async def import_products(
    rows: AsyncIterator[tuple[int, CreateProductRequest | RowError]], apply: Apply[ProductDetails]
) -> ImportResult:
    """
    Put the products of an upload into the catalog, a batch in each transaction.

    :raises ImportInterrupted: if the database fails and keeps failing; no batch is ever applied in part.
    """
    named = ((number, row if isinstance(row, RowError) else (row.sku, row.details())) async for number, row in rows)
    return await _Import("sku", apply).run(named, batch_rows_max=BATCH_ROWS_MAX)


async def import_categories(
    rows: AsyncIterator[tuple[int, CreateCategoryRequest | RowError]], apply: Apply[CategoryDetails]
) -> ImportResult:
    """
    Put the categories of an upload into the tree, all in one transaction: a parent may come after its children.

    :raises ImportInterrupted: if the database fails and keeps failing; nothing is applied then.
    """
    named = ((number, row if isinstance(row, RowError) else (row.code, row.details())) async for number, row in rows)
    return await _Import("code", apply).run(named, batch_rows_max=None)


class _Import(Generic[Details]):
    """One upload on its way into the catalog; its rows are told apart by `key_field`."""

    def __init__(self, key_field: str, apply: Apply[Details]) -> None:
        self._key_field = key_field
        self._apply = apply
        self._tally = ImportTally()
        self._row_by_key: dict[str, int] = {}
        self._batch: dict[str, Details] = {}

    async def run(
        self,
        rows: AsyncIterator[tuple[int, tuple[str, Details] | RowError]],
        *,
        batch_rows_max: int | None,
    ) -> ImportResult:
        try:
            async for number, row in rows:
                self._take(number, row)
                if len(self._batch) == batch_rows_max:
                    await self._apply_batch()
            if self._batch:
                await self._apply_batch()
        finally:
            self._tally.count()
        return self._tally.answer()

    def _take(self, number: int, row: tuple[str, Details] | RowError) -> None:
        if isinstance(row, RowError):
            self._tally.reject(row)
            return
        key, details = row
        first = self._row_by_key.setdefault(key, number)
        if first != number:
            # Whichever of the two won, sending the file again would change the product twice more.
            reason = f"Row {first} says what it should be; a file may name it once."
            field = self._key_field
            self._tally.reject(RowError(number, f"repeated-{field}", reason, field))
            return
        self._batch[key] = details

    async def _apply_batch(self) -> None:
        batch, self._batch = self._batch, {}
        for key, outcome in (await self._outcomes(batch)).items():
            if isinstance(outcome, DomainError):
                row = self._row_by_key[key]
                self._tally.reject(RowError(row, outcome.code, outcome.detail, outcome.field))
            elif outcome:
                self._tally.accept()
            else:
                self._tally.unchanged += 1

    async def _outcomes(self, batch: Mapping[str, Details]) -> Mapping[str, bool | DomainError]:
        """Apply a batch; a transaction that failed left nothing behind, so it can be tried again."""
        for attempt in range(_ATTEMPTS_MAX):
            if attempt:
                # Two imports of the same products may deadlock; they must not meet again in step.
                backoff_seconds = _RETRY_SECONDS_MIN * 2**attempt
                await asyncio.sleep(backoff_seconds * random.uniform(0.5, 1))  # noqa: S311 - no secret
            try:
                with catalog_import_batch_duration_seconds.time():
                    return await self._apply(batch)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("import.batch_failed", rows=len(batch), error=type(error).__name__)
        raise ImportInterrupted(self._tally)
