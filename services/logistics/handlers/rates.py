"""Changing what carriers charge."""

from collections.abc import Container
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from libs.common.errors import Invalid, PreconditionFailed
from services.logistics.domain.carriers import Carrier
from services.logistics.handlers.ports import Rates


class CurrencyNotTheShops(Invalid):
    """Prices in several currencies cannot be compared, so all carriers charge in the shop's."""

    code: ClassVar[str] = "currency-not-the-shops"


class CarrierChanged(PreconditionFailed):
    """The carrier was changed since the caller read it."""

    code: ClassVar[str] = "carrier-changed"


async def put_carrier(
    carrier: Carrier,
    *,
    rates: Rates,
    shop_currency: str,
    expected_versions: Container[int] | None = None,
    now: datetime,
) -> tuple[Carrier, bool]:
    """
    Store what a carrier offers; return it with its version, and whether it is new.

    Storing what is stored already changes nothing, the versions included. Shipments that are planned keep their
    carrier and their price.

    :raises CurrencyNotTheShops: if it charges in another currency than the shop.
    :raises CarrierChanged: if its version is none of the expected ones (0 stands for a carrier that is new).
    """
    if carrier.currency != shop_currency:
        raise CurrencyNotTheShops(f"The carrier must charge in {shop_currency}.", field="currency")
    table_version = await rates.lock()
    table = await rates.current()
    before = next((one for one in table.carriers if one.carrier == carrier.carrier), None)
    before_version = before.version if before else 0
    if expected_versions is not None and before_version not in expected_versions:
        raise CarrierChanged(f"The carrier has version {before_version}.", field="If-Match")
    if before is not None and replace(carrier, version=before_version).in_order() == before.in_order():
        return before, False
    after = replace(carrier.in_order(), version=before_version + 1)
    await rates.put(after, table_version=table_version + 1, now=now)
    return after, before is None
