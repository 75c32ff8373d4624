"""Reports about many shipments at once, as NDJSON, answered row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request

from libs.common.db import Transaction
from libs.common.errors import DomainError
from libs.common.http.auth import requires
from libs.common.http.ndjson import BulkTally, RowError, is_csv, read_ndjson
from libs.common.http.problems import UnsupportedMediaType
from services.logistics.api.dependencies import Backend, OurBackend
from services.logistics.api.shipment_schemas import ShipmentEventRow, ShipmentEventsResult
from services.logistics.handlers.facts import count_movements
from services.logistics.handlers.movements import Moved, record_movements

router = APIRouter(prefix="/v1", tags=["shipments"])

# One transaction for so many rows: enough to make a commit cheap, few enough not to hold their locks for long.
_ROWS_PER_TRANSACTION: Final = 500
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_EXAMPLE: Final = (
    '{"shipment_id": "6f1c9f6e-2f0b-5e0e-9a53-0d9c3c1f7a51", "type": "scanned",'
    ' "occurred_at": "2026-06-02T12:00:00Z", "place": "Carlisle"}'
)


@dataclass(slots=True)
class _Tally(BulkTally):
    duplicates: int = 0


@router.post(
    "/shipment-events",
    dependencies=[requires("shipments:write")],
    max_body_size=_BODY_BYTES_MAX,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/x-ndjson": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def report_shipment_events(request: Request, backend: OurBackend) -> ShipmentEventsResult:
    """
    Report what happened to shipments: one JSON object a line, good rows are applied even if others fail.

    Needs no Idempotency-Key: a row that says what is known already is counted as a duplicate and changes nothing, so
    an upload that broke off is simply sent again.
    """
    if is_csv(request):
        raise UnsupportedMediaType("Send application/x-ndjson.")
    tally = _Tally()
    rows: list[tuple[int, ShipmentEventRow]] = []
    async for number, line in read_ndjson(request.stream()):
        row = _parse(number, line)
        if isinstance(row, RowError):
            tally.reject(row)
            continue
        rows.append((number, row))
        if len(rows) == _ROWS_PER_TRANSACTION:
            await _apply(backend, rows, tally)
            rows = []
    if rows:
        await _apply(backend, rows, tally)
    return ShipmentEventsResult(**tally.result().model_dump(), duplicates=tally.duplicates)


def _parse(number: int, line: bytes | RowError) -> ShipmentEventRow | RowError:
    if isinstance(line, RowError):
        return line
    try:
        return ShipmentEventRow.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        return RowError(number, "invalid-row", str(problem["msg"])[:200], place or None)


async def _apply(backend: Backend, rows: Sequence[tuple[int, ShipmentEventRow]], tally: _Tally) -> None:
    async def work(transaction: Transaction) -> list[Moved | DomainError]:
        desk = backend.open_desk(transaction)
        outcomes = await record_movements(
            [row.movement() for _, row in rows],
            shipments=desk.shipments,
            outbox=desk.outbox,
            now=backend.clock.now(),
            eta_threshold=backend.eta_threshold,
        )
        moved = [outcome for outcome in outcomes if isinstance(outcome, Moved)]
        transaction.after_commit(partial(count_movements, moved))
        return outcomes

    for (number, _), outcome in zip(rows, await backend.database.run(work), strict=True):
        if isinstance(outcome, Moved):
            if outcome.is_repeated:
                tally.duplicates += 1
            else:
                tally.accept()
        else:
            # The rows of this upload name all business times alike.
            is_time = outcome.field is not None and outcome.field.endswith("_at")
            field_name = "occurred_at" if is_time else outcome.field
            tally.reject(RowError(number, outcome.code, outcome.detail, field_name))
