"""`python -m bench.speed.servers.orders api`: orders, and a constant for whoever posts a valid order."""

from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import Response

from bench.speed.servers.constant import BODY, PATH, with_routes
from libs.common.http.auth import requires
from libs.common.runtime import main
from services.orders.api.schemas import PlaceOrderRequest
from services.orders.bootstrap import SERVICE

router = APIRouter()


@router.post(PATH, status_code=HTTPStatus.CREATED, dependencies=[requires("orders:write")])
async def answer(body: PlaceOrderRequest) -> Response:
    """Answer the same to every valid order."""
    del body
    return Response(BODY, status_code=HTTPStatus.CREATED, media_type="application/json")


if __name__ == "__main__":
    main(with_routes(SERVICE, router))
