"""Stripe's own books: PaymentIntents with the refunds of their charges."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import stripe

from libs.common.telemetry.logs import get_logger
from services.orders.clients.stripe_objects import Intent, from_stripe_amount
from services.orders.clients.stripe_webhooks import STRIPE
from services.orders.handlers.settlement import BooksUnreadable, Charge

_PAGE: Final = 100
_EXPAND: Final = "latest_charge"

log = get_logger()


class _Charged(msgspec.Struct):
    amount_refunded: int = 0


class _IntentWithCharge(Intent, kw_only=True, frozen=True):
    latest_charge: _Charged | str | None = None


class StripeBooks:
    """`ProviderBooks` of Stripe; it asks a few questions at a time, to leave room for what moves money."""

    def __init__(self, client: stripe.StripeClient, *, calls_max: int = 4) -> None:
        """Ask with `client`."""
        self._intents = client.v1.payment_intents
        self._slots = asyncio.Semaphore(calls_max)

    async def charges(self, references: Sequence[str]) -> Mapping[str, Charge | None]:
        """Return what is known of authorisations (see `ProviderBooks.charges`)."""
        found: dict[str, Charge | None] = {}

        async def one(reference: str) -> None:
            async with self._slots:
                try:
                    intent = await self._intents.retrieve_async(reference, {"expand": [_EXPAND]})
                    found[reference] = _charge(intent)
                except stripe.InvalidRequestError as error:
                    if error.code == "resource_missing":
                        found[reference] = None
                except (stripe.StripeError, msgspec.ValidationError) as error:
                    log.warning("stripe.books_unread", error=type(error).__name__)

        async with asyncio.TaskGroup() as group:
            for reference in references:
                group.create_task(one(reference))
        return found

    async def statement(self, *, since: datetime, until: datetime) -> AsyncIterator[Sequence[Charge]]:
        """Yield everything that was authorised in a period (see `ProviderBooks.statement`)."""
        asked: Any = {
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())},
            "limit": _PAGE,
            "expand": [f"data.{_EXPAND}"],
        }
        while True:
            try:
                page = await self._intents.list_async(asked)
                charges = [_charge(one) for one in page.data]
            except (stripe.StripeError, msgspec.ValidationError) as error:
                log.warning("stripe.books_unread", error=type(error).__name__)
                raise BooksUnreadable(STRIPE) from None
            if charges:
                yield charges
            if not page.has_more or not charges:
                return
            asked["starting_after"] = page.data[-1].id


def _charge(found: stripe.StripeObject) -> Charge:
    intent = msgspec.convert(found.to_dict(), _IntentWithCharge)
    currency = intent.currency.upper()
    refunded = intent.latest_charge.amount_refunded if isinstance(intent.latest_charge, _Charged) else 0
    return Charge(
        reference=intent.id,
        currency=currency,
        held_minor=from_stripe_amount(intent.amount_capturable, currency),
        captured_minor=from_stripe_amount(intent.amount_received, currency),
        refunded_minor=from_stripe_amount(refunded, currency),
    )
