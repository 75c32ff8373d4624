"""Where warehouses post what happens to their stock."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.events.base import Envelope
from libs.common.http.auth import requires
from libs.common.http.ndjson import BulkTally, RowError, content_type_of, read_ndjson
from libs.common.http.problems import UnsupportedMediaType
from services.inventory.api.dependencies import StockEventIntake, UseCases
from services.inventory.api.schemas import StockEventResponse, StockEventsResponse
from services.inventory.api.stock_event_rows import STOCK_EVENT, EventRows, problems_of
from services.inventory.domain.plausibility import InvalidStockEvent

# Rows applied in one transaction while the rest of an upload is still being read.
_ROWS_PER_TRANSACTION: Final = 4_000
_UPLOAD_BYTES_MAX: Final = 512 * 1024 * 1024
_UPLOAD_ROWS_MAX: Final = 1_000_000
_NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of the intake."""
    router = APIRouter(prefix="/v1")
    intake, clock = use_cases.intake, use_cases.clock

    @router.post(
        "/stock-events",
        status_code=HTTPStatus.CREATED,
        response_model=StockEventResponse,
        responses={HTTPStatus.OK: {"model": StockEventsResponse, "description": "What became of the rows."}},
        dependencies=[requires("stock:write")],
        openapi_extra={"requestBody": _request_body()},
        max_body_size=_UPLOAD_BYTES_MAX,
    )
    async def report_stock_events(request: Request) -> Response:
        """
        Report what happened to stock: one event as JSON (201), or one a line as NDJSON (200).

        An event's `id` makes it safe to post again, here or on the bus. Of NDJSON, good rows are applied whatever
        is wrong with others.
        """
        content_type = content_type_of(request)
        if content_type in _NDJSON:
            tally = _Upload(intake)
            events = EventRows(clock)
            async for number, row in read_ndjson(request.stream(), lines_max=_UPLOAD_ROWS_MAX):
                await tally.add(number, row if isinstance(row, RowError) else events.row(number, row))
            return _json(HTTPStatus.OK, await tally.finish())
        if content_type != "application/json":
            raise UnsupportedMediaType("Send application/json or application/x-ndjson.")
        try:
            envelope = EventRows(clock).event(await request.body())
        except ValidationError as error:
            raise RequestValidationError(problems_of(error)) from error
        status = await intake.submit(envelope)
        return _json(HTTPStatus.CREATED, StockEventResponse(id=envelope.id, status=status))

    return router


class _Upload:
    """Applies the rows of one upload, a batch after the other, while it arrives."""

    def __init__(self, intake: StockEventIntake) -> None:
        self._intake = intake
        self._tally = BulkTally()
        self._duplicates = 0
        self._waiting: list[tuple[int, Envelope]] = []

    async def add(self, number: int, row: Envelope | RowError) -> None:
        if isinstance(row, RowError):
            self._tally.reject(row)
            return
        self._waiting.append((number, row))
        if len(self._waiting) >= _ROWS_PER_TRANSACTION:
            await self._apply()

    async def finish(self) -> StockEventsResponse:
        await self._apply()
        result = self._tally.result()
        return StockEventsResponse(
            accepted=result.accepted,
            duplicates=self._duplicates,
            rejected=result.rejected,
            errors=result.errors,
        )

    async def _apply(self) -> None:
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        results = await self._intake.apply([envelope for _, envelope in rows])
        for (number, _), result in zip(rows, results, strict=True):
            if isinstance(result, InvalidStockEvent):
                self._tally.reject(RowError(number, result.code, result.detail, result.field))
            elif result == "applied":
                self._tally.accept()
            else:
                self._duplicates += 1


def _json(status: HTTPStatus, body: StockEventResponse | StockEventsResponse) -> Response:
    return Response(body.model_dump_json(), status_code=status, media_type="application/json")


def _request_body() -> dict[str, Any]:
    schema = STOCK_EVENT.json_schema(ref_template="#/components/schemas/{model}")
    # Definitions belong to the document's components; here they are written where they are used.
    definitions = schema.pop("$defs", {})
    schema["oneOf"] = [definitions[one["$ref"].rpartition("/")[2]] for one in schema["oneOf"]]
    schema.pop("discriminator", None)
    return {
        "required": True,
        "content": {
            "application/json": {"schema": schema},
            "application/x-ndjson": {"schema": {"type": "string", "description": "One such event a line."}},
        },
    }
