"""What can be promised, answered from memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.errors import Invalid
from libs.common.http.auth import requires
from libs.common.http.sse import LastEventId, ServerEvent, event_stream
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import AvailabilityResponse
from services.inventory.domain.plausibility import SKU_CHARACTERS_MAX
from services.inventory.handlers.availability import Availability

SKUS_MAX: Final = 200
_PACE_SECONDS: Final = 0.1

_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "sku",
        "in": "query",
        "required": True,
        "description": "Once for each SKU.",
        "schema": {
            "type": "array",
            "minItems": 1,
            "maxItems": SKUS_MAX,
            "items": {"type": "string", "minLength": 1, "maxLength": SKU_CHARACTERS_MAX},
        },
    }
]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the route of availability."""
    router = APIRouter(prefix="/v1")
    availability = use_cases.availability

    # The parameters are read here and not by the framework: this route answers storefronts, in microseconds.
    @router.get(
        "/availability",
        response_model=AvailabilityResponse,
        dependencies=[requires("availability:read")],
        openapi_extra={"parameters": _PARAMETERS},
    )
    async def show_availability(request: Request) -> Response:
        """Show what can be promised of each SKU now; of one that nobody ever stocked, that is nothing."""
        return Response(_body(availability, skus_of(request)), media_type="application/json")

    @router.get(
        "/availability/stream",
        response_class=Response,
        dependencies=[requires("availability:read")],
        openapi_extra={"parameters": _PARAMETERS},
    )
    async def stream_availability(request: Request, last_event_id: LastEventId = None) -> Response:  # noqa: ARG001
        """
        Follow some SKUs as server-sent events: the state of all of them first, then of each that changes.

        Only states are told, not every change between them: who reads slowly, or comes back with `Last-Event-ID`,
        gets the latest state of each SKU.
        """
        return event_stream(request, _changes(availability, skus_of(request)))

    return router


async def _changes(availability: Availability, skus: Sequence[str]) -> AsyncIterator[ServerEvent]:
    with availability.watch(skus) as watch:
        while True:
            changed = await watch.changed()
            yield ServerEvent(data=_body(availability, changed), event="availability", id=_as_of(availability))
            # What changes a thousand times a second is told ten times.
            await asyncio.sleep(_PACE_SECONDS)


def _body(availability: Availability, skus: Iterable[str]) -> bytes:
    items = b",".join([availability.encoded(sku) for sku in skus])
    return b'{"as_of":"%b","items":[%b]}' % (_as_of(availability).encode(), items)


def _as_of(availability: Availability) -> str:
    return availability.as_of.isoformat().removesuffix("+00:00") + "Z"


def skus_of(request: Request) -> list[str]:
    """
    Return the SKUs that are asked for, once for each time that they are.

    :raises Invalid: if there are none, too many, or one that cannot be.
    """
    query: bytes = request.scope["query_string"]
    if b"%" in query or b"+" in query:
        skus = request.query_params.getlist("sku")
    else:
        # Nothing is written in another way than it is meant: cut, it says the same, in a fifth of the time.
        parts = [part.partition("=") for part in query.decode("latin-1").split("&")]
        skus = [value for name, _, value in parts if name == "sku"]
    if not skus:
        raise Invalid("Name at least one SKU: ?sku=…", field="sku")
    if len(skus) > SKUS_MAX:
        raise Invalid(f"At most {SKUS_MAX} SKUs fit into one request.", field="sku")
    if not all(0 < len(sku) <= SKU_CHARACTERS_MAX for sku in skus):
        raise Invalid(f"A SKU has 1 to {SKU_CHARACTERS_MAX} characters.", field="sku")
    return skus
