"""`python -m bench.speed.servers.inventory api`: inventory, and a constant behind the key that availability needs."""

from fastapi import APIRouter
from starlette.responses import Response

from bench.speed.servers.constant import BODY, PATH, with_routes
from libs.common.http.auth import requires
from libs.common.runtime import main
from services.inventory.bootstrap import SERVICE

router = APIRouter()


@router.get(PATH, dependencies=[requires("availability:read")])
async def answer() -> Response:
    """Answer the same, whoever asks."""
    return Response(BODY, media_type="application/json")


if __name__ == "__main__":
    main(with_routes(SERVICE, router))
