"""Orders of marketplaces and other systems, by the file."""

import asyncio
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextvars import Context
from http import HTTPStatus
from typing import IO, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common.db import is_transient
from libs.common.errors import DomainError, Unavailable
from libs.common.http.auth import requires
from libs.common.http.ndjson import RowError, content_type_of, read_ndjson
from libs.common.http.problems import UnsupportedMediaType
from libs.common.telemetry.logs import get_logger
from services.orders import metrics
from services.orders.api.backend import Backend, BackendOfApp
from services.orders.api.order_content import content_hash
from services.orders.api.order_routes import new_order
from services.orders.api.quick_order import read_order
from services.orders.api.schemas import PlaceOrderRequest
from services.orders.domain.order import OrderStatus
from services.orders.handlers.imports import Imported, import_orders
from services.orders.handlers.ports import ImportRow

router = APIRouter(prefix="/v1", tags=["orders"])

_ROWS_PER_TRANSACTION: Final = 500
# While one transaction waits for the database, the next rows are read and decided.
_TRANSACTIONS_MAX: Final = 2
_UPLOAD_BYTES_MAX: Final = 4 * 1024**3
_UPLOAD_ROWS_MAX: Final = 1_000_000
_ROW_BYTES_MAX: Final = 256 * 1024
_REASON_CHARACTERS_MAX: Final = 200
_ANSWER_IN_MEMORY_BYTES_MAX: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_NDJSON: Final = "application/x-ndjson"
_MEDIA_TYPES: Final = frozenset({_NDJSON, "application/ndjson", "application/jsonl"})

_Row = tuple[int, ImportRow | RowError]

log = get_logger()


class ImportInterrupted(Unavailable):
    """The database does not answer; what was imported before stays, and the same file may be sent again."""

    code: ClassVar[str] = "import-interrupted"


class ImportRowResponse(BaseModel):
    """What became of one row; empty lines of the file have none."""

    model_config = ConfigDict(frozen=True)

    row: int = Field(description="Number of the row, from 1.")
    result: Literal["placed", "duplicate", "rejected"] = Field(
        description="`duplicate`: this order was imported before, and is the one named."
    )
    reference: str | None = None
    order_id: UUID | None = None
    status: OrderStatus | None = Field(default=None, description="Of a new order: approved, or held for a person.")
    code: str | None = Field(default=None, description="Why it was rejected.")
    field: str | None = None
    reason: str | None = None


# The same as it is written, in a tenth of the time.
class _Answer(msgspec.Struct, omit_defaults=True, kw_only=True):
    row: int
    result: Literal["placed", "duplicate", "rejected"]
    reference: str | None = None
    order_id: UUID | None = None
    status: OrderStatus | None = None
    code: str | None = None
    field: str | None = None
    reason: str | None = None


_encoder: Final = msgspec.json.Encoder()

# The definitions that it needs are the document's own.
_ROW_SCHEMA: Final = {
    name: part
    for name, part in ImportRowResponse.model_json_schema(ref_template="#/components/schemas/{model}").items()
    if name != "$defs"
}
_RESULT: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK: {
        "description": "One line for each row, in order.",
        "content": {_NDJSON: {"schema": _ROW_SCHEMA}},
    }
}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {_NDJSON: {"schema": {"type": "string", "description": "A line is what `POST /v1/orders` takes."}}},
}


@router.post(
    "/orders/import",
    dependencies=[requires("orders:write")],
    response_class=StreamingResponse,
    responses=_RESULT,
    openapi_extra={"requestBody": _BODY},
    max_body_size=_UPLOAD_BYTES_MAX,
)
async def import_ndjson(request: Request, backend: BackendOfApp) -> Response:
    """
    Place many orders: one a line, as `POST /v1/orders` takes it, answered line by line.

    A row's `channel` and `reference` make it safe to send again, for ever. A row that is wrong is named with its
    reason, and harms no other.
    """
    if content_type_of(request) not in _MEDIA_TYPES:
        raise UnsupportedMediaType(f"Send {_NDJSON}.")
    answer = tempfile.SpooledTemporaryFile(max_size=_ANSWER_IN_MEMORY_BYTES_MAX)  # noqa: SIM115 - closed when sent
    try:
        await _Import(backend, answer).run(request)
    except BaseException:
        answer.close()
        raise
    length = answer.tell()
    answer.seek(0)
    return StreamingResponse(_chunks(answer), media_type=_NDJSON, headers={"Content-Length": str(length)})


async def _chunks(answer: IO[bytes]) -> AsyncIterator[bytes]:
    with answer:
        while chunk := answer.read(_CHUNK_BYTES):
            yield chunk


class _Import:
    """Takes one file: a batch is read while others are written, and what became of the rows is kept on disk."""

    def __init__(self, backend: Backend, answer: IO[bytes]) -> None:
        self._backend = backend
        self._answer = answer
        self._batch: list[_Row] = []
        self._under_way: deque[tuple[int, asyncio.Task[list[_Answer] | Exception]]] = deque()

    async def run(self, request: Request) -> None:
        """
        Take every row.

        :raises ImportInterrupted: if the database does not answer.
        """
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            try:
                await self._take_all(request, group)
            except Exception as error:  # noqa: BLE001 - raised below as it is, once what has begun is over
                failure = error
        if failure is not None:
            raise failure

    async def _take_all(self, request: Request, group: asyncio.TaskGroup) -> None:
        async for number, line in read_ndjson(
            request.stream(), lines_max=_UPLOAD_ROWS_MAX, line_bytes_max=_ROW_BYTES_MAX
        ):
            row = line if isinstance(line, RowError) else _read_row(number, line, self._backend)
            self._batch.append((number, row))
            if len(self._batch) >= _ROWS_PER_TRANSACTION:
                await self._start_batch(group)
        if self._batch:
            await self._start_batch(group)
        while self._under_way:
            await self._finish_batch()

    async def _start_batch(self, group: asyncio.TaskGroup) -> None:
        if len(self._under_way) >= _TRANSACTIONS_MAX:
            await self._finish_batch()
        batch, self._batch = self._batch, []
        # Out of the request's trace: a million orders are no one thing to follow, each has a correlation id of its own.
        task = group.create_task(_take(batch, self._backend), context=Context())
        self._under_way.append((batch[0][0], task))

    async def _finish_batch(self) -> None:
        first, task = self._under_way.popleft()
        results = await task
        if isinstance(results, Exception):
            if is_transient(results):
                detail = f"The rows before {first} are imported, later ones may be; send the file again."
                raise ImportInterrupted(detail) from results
            raise results
        self._answer.write(_encoder.encode_lines(results))
        for result, rows in Counter(one.result for one in results).items():
            metrics.orders_imported_rows_total.labels(result).inc(rows)


def _read_row(number: int, line: bytes, backend: Backend) -> ImportRow | RowError:
    try:
        body = read_order(line) or PlaceOrderRequest.model_validate_json(line)
        if body.reference is None:
            return RowError(
                number, "missing-reference", "The channel's own number makes a row safe to repeat.", "reference"
            )
        backend.erased.check(body.customer_id)
        order = new_order(
            body,
            now=backend.clock.now(),
            age_max=backend.event_age_max,
            on_shortage=backend.shortage_policy.choose(body.on_shortage, body.channel),
            payment_methods=backend.payment_methods,
            is_traced=False,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        code = "malformed-json" if first["type"] == "json_invalid" else "invalid-row"
        field = ".".join(str(part) for part in first["loc"]) or None
        return RowError(number, code, str(first["msg"])[:_REASON_CHARACTERS_MAX], field)
    except DomainError as error:
        return _row_error(number, error)
    return ImportRow(order, content_hash(body))


def _row_error(number: int, error: DomainError) -> RowError:
    field = (error.field or "").strip("/").replace("/", ".") or None
    return RowError(number, error.code, error.detail, field)


async def _take(batch: Sequence[_Row], backend: Backend) -> list[_Answer] | Exception:
    """Import the good rows of a batch and say of every row what became of it, in order, or why nothing did."""
    rows = [row for _, row in batch if isinstance(row, ImportRow)]
    try:
        outcomes = iter(await _import(rows, backend))
    except Exception as error:  # noqa: BLE001 - told to whoever waits for the batch, and not to its neighbours
        return error
    return [
        _rejected(row, None) if isinstance(row, RowError) else _response(number, row, next(outcomes))
        for number, row in batch
    ]


def _response(number: int, row: ImportRow, outcome: Imported | DomainError) -> _Answer:
    reference = row.order.facts.reference
    if isinstance(outcome, DomainError):
        return _rejected(_row_error(number, outcome), reference)
    return _Answer(
        row=number,
        result="duplicate" if outcome.status is None else "placed",
        reference=reference,
        order_id=outcome.order_id,
        status=outcome.status,
    )


def _rejected(error: RowError, reference: str | None) -> _Answer:
    return _Answer(
        row=error.row, result="rejected", reference=reference, code=error.code, field=error.field, reason=error.reason
    )


async def _import(rows: Sequence[ImportRow], backend: Backend) -> list[Imported | DomainError]:
    """Import rows in one transaction; one that cannot be stored for a reason of its own is found by halving."""
    if not rows:
        return []
    try:
        return await backend.run(
            lambda unit: import_orders(
                rows,
                unit=unit,
                price_check=backend.price_check,
                reviewing=backend.reviewing,
                policy=backend.policy,
                now=backend.clock.now(),
            )
        )
    except Exception as error:
        if is_transient(error):
            raise
        log.warning("import.batch_halved", rows=len(rows), exc_info=error if len(rows) == 1 else None)
        if len(rows) == 1:
            return [RowNotStored()]
        middle = len(rows) // 2
        return [*await _import(rows[:middle], backend), *await _import(rows[middle:], backend)]


class RowNotStored(DomainError):
    """The row passed every check and could not be stored all the same; the reason is in the service's log."""

    code: ClassVar[str] = "row-not-stored"

    def __init__(self) -> None:
        """Say where to look."""
        super().__init__("The order could not be stored; the service's log says why.")
