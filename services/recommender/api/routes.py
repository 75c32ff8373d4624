"""The routes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.clock import Clock
from libs.common.errors import Invalid
from libs.common.http.auth import requires
from libs.common.http.ndjson import (
    LINE_BYTES_MAX,
    BulkResult,
    BulkTally,
    RowError,
    content_type_of,
    read_ndjson,
)
from libs.common.http.problems import PayloadTooLarge, UnsupportedMediaType
from libs.common.http.query import IN_DIGITS
from libs.common.privacy import Pseudonyms
from services.recommender.api.rows import (
    code_of,
    count_rejection,
    field_of,
    read_report,
    read_row,
)
from services.recommender.api.schemas import (
    Label,
    PersonId,
    RecommendationsResponse,
    Sku,
    behaviour_report_schema,
)
from services.recommender.handlers.intake import Report, take_in
from services.recommender.handlers.ports import BehaviourStream
from services.recommender.handlers.recommending import Question, Recommender

LIMIT_DEFAULT: Final = 10
LIMIT_MAX: Final = 50
# Rows published together while the rest of an upload is still being read.
_ROWS_PER_PUBLISH: Final = 500
_UPLOAD_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the routes call, put together in bootstrap."""

    stream: BehaviourStream
    recommender: Recommender
    pseudonyms: Pseudonyms
    clock: Clock


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the recommender's routes."""
    router = APIRouter(prefix="/v1")
    clock = use_cases.clock

    @router.post(
        "/behaviour-events",
        status_code=HTTPStatus.ACCEPTED,
        dependencies=[requires("behaviour:write")],
        openapi_extra={"requestBody": _request_body()},
        max_body_size=_UPLOAD_BYTES_MAX,
    )
    async def report_behaviour(request: Request) -> BulkResult:
        """
        Report what visitors do: one event as JSON, or one a line as NDJSON.

        Answered once the broker has the events. Give each event an `id`: after a 503 or a lost connection,
        posting the same ids again is safe. Of NDJSON, good rows are accepted whatever is wrong with others.
        """
        match content_type_of(request):
            case "application/json":
                report = _read_one(await request.body(), clock)
                await take_in([report], stream=use_cases.stream, pseudonyms=use_cases.pseudonyms, clock=clock)
                return BulkResult(accepted=1, rejected=0, errors=[])
            case "application/x-ndjson" | "application/ndjson" | "application/jsonl":
                return await _take_in_rows(request.stream(), use_cases)
            case _:
                raise UnsupportedMediaType("Send application/json or application/x-ndjson.")

    @router.get(
        "/recommendations",
        dependencies=[requires("recommendations:read")],
        response_model=RecommendationsResponse,
    )
    async def recommend(
        user_id: Annotated[PersonId | None, Query(description="A visitor or customer.")] = None,
        sku: Annotated[Sku | None, Query(description="A product to find company for.")] = None,
        visitor_id: Annotated[PersonId | None, Query(description="Who will see it.")] = None,
        placement: Annotated[Label, Query(description="Where it will be seen.")] = "unspecified",
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX), IN_DIGITS] = LIMIT_DEFAULT,
    ) -> Response:
        """
        Recommend products that are listed and in stock, each with its reason, most fitting first.

        By `sku`: what is bought and viewed together with it. By `user_id`: what goes with what that visitor
        or customer did lately, without what was bought. With neither, or where too little is known: what is popular.
        """
        known_as = use_cases.pseudonyms.of
        question = Question(
            user_id=None if user_id is None else known_as(user_id),
            sku=sku,
            visitor_id=None if visitor_id is None else known_as(visitor_id),
            placement=placement,
            limit=limit,
        )
        answer = RecommendationsResponse.of(await use_cases.recommender.recommend(question))
        # Rendered here: the framework would validate and copy what was just validated.
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


def _read_one(body: bytes, clock: Clock) -> Report:
    if len(body) > LINE_BYTES_MAX:
        raise PayloadTooLarge(f"An event may have {LINE_BYTES_MAX} bytes.")
    try:
        return read_report(body, now=clock.now())
    except ValidationError as error:
        count_rejection(body, code=code_of(error))
        problems = error.errors(include_url=False, include_input=False)
        raise RequestValidationError(
            [{**problem, "loc": ("body", *field_of(problem["loc"]))} for problem in problems]
        ) from error
    except Invalid as error:
        count_rejection(body, code=error.code)
        raise


async def _take_in_rows(chunks: AsyncIterator[bytes], use_cases: UseCases) -> BulkResult:
    tally = BulkTally()
    pending: list[Report] = []

    async def publish() -> None:
        await take_in(pending, stream=use_cases.stream, pseudonyms=use_cases.pseudonyms, clock=use_cases.clock)
        tally.accept(len(pending))
        pending.clear()

    async for row, line in read_ndjson(chunks):
        now = use_cases.clock.now()
        outcome = line if isinstance(line, RowError) else read_row(row, line, now=now)
        if isinstance(outcome, RowError):
            count_rejection(line if isinstance(line, bytes) else None, code=outcome.code)
            tally.reject(outcome)
            continue
        pending.append(outcome)
        if len(pending) == _ROWS_PER_PUBLISH:
            await publish()
    if pending:
        await publish()
    return tally.result()


def _request_body() -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "application/json": {"schema": behaviour_report_schema()},
            "application/x-ndjson": {"schema": {"type": "string", "description": "One such object a line."}},
        },
    }
