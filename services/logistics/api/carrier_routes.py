"""Carriers and their rates."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.entity_tags import IfMatch, entity_tag, versions_of
from libs.common.http.pagination import (
    Page,
)
from services.logistics.api.carrier_schemas import CarrierResponse, Code, PutCarrierRequest
from services.logistics.api.dependencies import OurBackend
from services.logistics.domain.carriers import Carrier
from services.logistics.handlers.rates import put_carrier

router = APIRouter(prefix="/v1", tags=["carriers"])

CarrierCode = Annotated[Code, Path(description="The carrier's code, chosen by the shop.")]


@router.get("/carriers", dependencies=[requires("shipments:read")])
async def list_carriers(backend: OurBackend) -> Page[CarrierResponse]:
    """List all carriers with their rates; there are never more than a page of them."""

    async def read(transaction: Transaction) -> list[CarrierResponse]:
        table = await backend.open_desk(transaction).rates.current()
        return [CarrierResponse.of(carrier) for carrier in table.carriers]

    return Page(items=await backend.database.run(read))


@router.put(
    "/carriers/{carrier}",
    dependencies=[requires("logistics:write")],
    responses={HTTPStatus.CREATED: {"model": CarrierResponse}},
)
async def put_one_carrier(
    carrier: CarrierCode,
    body: PutCarrierRequest,
    backend: OurBackend,
    response: Response,
    if_match: IfMatch = None,
) -> CarrierResponse:
    """Create a carrier or replace all that it offers; shipments planned from now on go by it."""
    expected_versions = None if if_match is None else versions_of(if_match)

    async def write(transaction: Transaction) -> tuple[Carrier, bool]:
        return await put_carrier(
            body.carrier(carrier),
            rates=backend.open_desk(transaction).rates,
            shop_currency=backend.currency,
            expected_versions=expected_versions,
            now=backend.clock.now(),
        )

    stored, is_new = await backend.database.run(write)
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    response.headers["ETag"] = entity_tag(stored.version)
    return CarrierResponse.of(stored)
