"""Where payment providers tell what they have done."""

from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from libs.common.http.auth import public
from services.orders.api.backend import BackendOfApp
from services.orders.handlers.notices import ProviderNotConfigured, receive_notice

router = APIRouter(prefix="/v1", tags=["payments"])

_BODY_BYTES_MAX: Final = 256 * 1024


# Public: what proves the sender is the provider's signature, and what makes a repetition harmless is its event's id.
@router.post(
    "/payment-webhooks/{provider}",
    dependencies=[public()],
    response_class=PlainTextResponse,
    max_body_size=_BODY_BYTES_MAX,
)
async def receive_payment_notice(
    provider: Annotated[str, Path(pattern=r"^[a-z][a-z-]{0,31}$")], request: Request, backend: BackendOfApp
) -> PlainTextResponse:
    """Take a signed notice of a payment provider. It is applied once, however often it is sent."""
    reader = backend.notice_readers.get(provider)
    if reader is None:
        raise ProviderNotConfigured(f"This shop does not work with {provider}.")
    now = backend.clock.now()
    notice = reader.read(request.headers, await request.body(), now=now)
    await backend.run(lambda unit: receive_notice(notice, unit=unit, policy=backend.policy, now=now))
    return PlainTextResponse(reader.acknowledgement)
