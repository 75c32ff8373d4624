"""Where warehouses post what happens to their stock."""

from collections import deque
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import is_transient
from libs.common.errors import Unavailable
from libs.common.events.base import Envelope
from libs.common.http.auth import requires
from libs.common.http.ndjson import BulkTally, RowError, content_type_of, read_ndjson_blocks
from libs.common.http.problems import UnsupportedMediaType
from services.inventory.api.dependencies import Block, StockEventIntake, UseCases
from services.inventory.api.schemas import StockEventResponse, StockEventsResponse
from services.inventory.api.stock_event_rows import STOCK_EVENT, EventRows, problems_of

# Rows that are applied together while the next are being read, and how many such blocks wait to be.
_ROWS_PER_BLOCK: Final = 2_000
_BLOCKS_AHEAD_MAX: Final = 2
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
            async with _Upload(intake) as upload:
                async for rows in read_ndjson_blocks(request.stream(), lines_max=_UPLOAD_ROWS_MAX):
                    events = EventRows(clock)
                    for number, row in rows:
                        upload.add(number, row if isinstance(row, RowError) else events.row(number, row))
                    await upload.make_way()
                result = await upload.finish()
            return _json(HTTPStatus.OK, result)
        if content_type != "application/json":
            raise UnsupportedMediaType("Send application/json or application/x-ndjson.")
        try:
            envelope = EventRows(clock).event(await request.body())
        except ValidationError as error:
            raise RequestValidationError(problems_of(error)) from error
        status = await intake.submit(envelope)
        return _json(HTTPStatus.CREATED, StockEventResponse(id=envelope.id, status=status))

    return router


class UploadInterrupted(Unavailable):
    """The database stayed away; what was applied before stays, and the same rows can be sent again."""

    code: ClassVar[str] = "upload-interrupted"

    def __init__(self, accepted: int) -> None:
        """Say how far it came."""
        super().__init__(
            f"The database stopped answering after at least {accepted} rows had been applied. Send all rows again:"
            " what is applied already counts as duplicates."
        )


class _Upload:
    """Applies the rows of one upload, block after block, while it arrives."""

    def __init__(self, intake: StockEventIntake) -> None:
        self._intake = intake
        self._tally = BulkTally()
        self._duplicates = 0
        self._waiting: list[tuple[int, Envelope]] = []
        self._blocks: deque[Block] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for block in self._blocks:
            await block.abandon()

    def add(self, number: int, row: Envelope | RowError) -> None:
        if isinstance(row, RowError):
            self._tally.reject(row)
        else:
            self._waiting.append((number, row))

    async def make_way(self) -> None:
        """Begin to apply what fills a block; wait if too much is under way."""
        if len(self._waiting) >= _ROWS_PER_BLOCK:
            self._begin()
        while len(self._blocks) > _BLOCKS_AHEAD_MAX:
            await self._settle()

    async def finish(self) -> StockEventsResponse:
        self._begin()
        while self._blocks:
            await self._settle()
        result = self._tally.result()
        return StockEventsResponse(
            accepted=result.accepted,
            duplicates=self._duplicates,
            rejected=result.rejected,
            errors=result.errors,
        )

    def _begin(self) -> None:
        rows, self._waiting = self._waiting, []
        if rows:
            self._blocks.append(self._intake.begin_block(rows))

    async def _settle(self) -> None:
        try:
            results = await self._blocks[0].results()
        except Exception as error:
            if isinstance(error, Unavailable) or is_transient(error):
                raise UploadInterrupted(self._tally.accepted) from error
            raise
        self._blocks.popleft()
        for number, result in results:
            if result == "applied":
                self._tally.accept()
            elif result == "duplicate":
                self._duplicates += 1
            else:
                self._tally.reject(RowError(number, result.code, result.detail, result.field))


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
