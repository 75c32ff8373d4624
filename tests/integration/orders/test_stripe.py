"""Stripe does everything once, whatever becomes of its answers, and is believed only if it can prove who it is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.orders.clients.stripe_payments import StripePayments
from tests.integration.orders.providers.double import Fault
from tests.integration.orders.providers.stripe import API_KEY, CARD, StripeDouble, event, signature
from tests.integration.orders.shop import NOW, TOTAL_MINOR, Shop, an_order
from tests.support.postgres import FreshDatabase

# The library passes text to httpx as it liked it some versions ago.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

OLD_SECRET, SECRET = "whsec_old", "whsec_new"
SETTINGS: dict[str, Any] = {
    "payment_methods": {"card": "stripe", "test": "sandbox"},
    "stripe_api_key": API_KEY,
    "stripe_webhook_secrets": (OLD_SECRET, SECRET),
}
SOON = timedelta(seconds=2)
# Longer than any test may take: nobody gives up because a machine is slow.
PATIENCE = timedelta(minutes=10)


@pytest.fixture
async def provider() -> AsyncIterator[StripeDouble]:
    async with StripeDouble.open() as double:
        yield double


@pytest.fixture
async def shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    async with Shop.open(database, **SETTINGS) as shop:
        yield shop


@asynccontextmanager
async def adapter(
    double: StripeDouble, *, call_timeout: timedelta = PATIENCE, is_multicapture: bool = False
) -> AsyncIterator[StripePayments]:
    payments = StripePayments(
        API_KEY,
        base_url=double.url,
        call_timeout=call_timeout,
        calls_max=4,
        answer_within=PATIENCE,
        is_multicapture=is_multicapture,
    )
    yield payments
    await payments.close()


@pytest.fixture
async def pay(shop: Shop, provider: StripeDouble) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    async with adapter(provider) as payments:
        yield lambda: shop.pay(payments, provider="stripe", visible_after=timedelta(minutes=5))


Pay = Callable[[], Awaitable[int]]


async def shipped(shop: Shop, pay: Pay) -> UUID:
    order_id = await shop.place(token=CARD)
    await shop.reserve(order_id)
    await pay()
    await shop.plan(order_id)
    await shop.dispatch(order_id)
    return order_id


def period() -> dict[str, str]:
    """Return the last hour: ids, by which orders are found, are of the machine's time."""
    now = datetime.now(UTC)  # noqa: TID251 - see above
    return {"since": (now - timedelta(hours=1)).isoformat(), "until": (now + timedelta(minutes=1)).isoformat()}


async def notify(shop: Shop, body: str, *, secret: str = SECRET, age: timedelta = timedelta(0)) -> httpx.Response:
    at = int((shop.clock.now() - age).timestamp())
    return await shop.client.post(
        "/v1/payment-webhooks/stripe",
        content=body,
        headers={"Stripe-Signature": signature(body, secret, at=at), "Content-Type": "application/json"},
    )


class TestPayments:
    async def test_are_held_then_captured_then_refunded(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        order_id = await shipped(shop, pay)
        await pay()
        assert (provider.intent["amount"], provider.intent["currency"]) == (TOTAL_MINOR, "gbp")
        assert provider.captures == [TOTAL_MINOR]

        response = await shop.post(
            f"/orders/{order_id}/returns", {"reason": "too-big", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 2}]}
        )
        lines = [{"sku": "OMINOUS-MIRROR", "quantity": 2, "restock_quantity": 2}]
        await shop.post(f"/returns/{response.json()['id']}/receipt", {"warehouse": "leeds", "lines": lines})
        await pay()

        assert [one["amount"] for one in provider.refunds.values()] == [1_000]
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 1_000

    async def test_carry_the_command_as_key_and_as_metadata(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        await pay()

        [command] = await shop.fetch("SELECT id, provider FROM payment_commands")
        assert provider.intent["metadata"] == {"command_id": str(command["id"]), "order_id": str(order_id)}
        assert command["provider"] == "stripe"

    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            ("pm_card_declined", "card-declined"),
            ("pm_card_poor", "insufficient-funds"),
            ("pm_card_stolen", "card-blocked"),
            ("pm_nobody_knows", "unknown-payment"),
        ],
    )
    async def test_that_are_declined_refuse_the_order(self, shop: Shop, pay: Pay, token: str, reason: str) -> None:
        order_id = await shop.place(token=token)
        await shop.reserve(order_id)

        await pay()

        timeline = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"]
        assert (timeline[-1]["stage"], timeline[-1]["detail"]) == ("refused", f"payment-declined: {reason}")

    async def test_of_another_provider_are_left_alone(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        response = await shop.post("/orders", {**an_order(), "payment": {"token": "tok_ok", "method": "test"}})
        await shop.reserve(UUID(response.json()["id"]))

        assert await pay() == 0
        assert await shop.pay() == 1
        assert provider.requests == []

    async def test_by_a_method_that_is_not_offered_are_refused(self, shop: Shop) -> None:
        response = await shop.post("/orders", {**an_order(), "payment": {"token": "x", "method": "barter"}})

        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "payment.method")

    async def test_are_captured_in_parts_if_the_account_may(
        self, database: FreshDatabase, provider: StripeDouble
    ) -> None:
        async with (
            Shop.open(database, **SETTINGS, stripe_multicapture=True) as shop,
            adapter(provider, is_multicapture=True) as payments,
        ):
            order_id = await shop.place(token=CARD)
            await shop.reserve(order_id)
            await shop.pay(payments, provider="stripe")
            provider.fail("POST capture", Fault.DONE_BUT_SILENT)
            for place in ("lyon", "leeds"):
                await shop.dispatch(order_id, place)
                await shop.pay(payments, provider="stripe")
                shop.clock.advance(SOON)
                await shop.pay(payments, provider="stripe")

        assert provider.captures == [1_500, 2_900]
        assert provider.intent["status"] == "succeeded"


class TestCurrencies:
    @pytest.mark.parametrize(
        ("currency", "asked_for"), [("JPY", 4_400), ("ISK", 440_000), ("MGA", 44), ("KWD", 4_400), ("GBP", 4_400)]
    )
    async def test_are_counted_as_stripe_counts_them(
        self, shop: Shop, provider: StripeDouble, pay: Pay, currency: str, asked_for: int
    ) -> None:
        order_id = await shop.place(token=CARD, currency=currency)
        await shop.reserve(order_id)
        await pay()
        await shop.plan(order_id)
        await shop.dispatch(order_id)
        await pay()

        assert (provider.intent["amount"], provider.captures) == (asked_for, [asked_for])
        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR

    @pytest.mark.parametrize(
        ("currency", "unit_price_minor", "reason"),
        [
            ("KWD", 1_005, "amount-not-payable"),
            ("MGA", 1_050, "amount-not-payable"),
            ("IQD", 50, "currency-not-supported"),
        ],
    )
    async def test_and_amounts_that_stripe_does_not_move_are_declined_at_once(
        self, shop: Shop, pay: Pay, currency: str, unit_price_minor: int, reason: str
    ) -> None:
        lines = [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 1, "unit_price_minor": unit_price_minor}]
        order_id = await shop.place(token=CARD, currency=currency, lines=lines)
        await shop.reserve(order_id)
        await pay()

        [*_, last] = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"]
        assert (last["stage"], last["detail"]) == ("refused", f"payment-declined: {reason}")

    async def test_with_three_decimals_are_captured_in_tens(
        self, database: FreshDatabase, provider: StripeDouble
    ) -> None:
        lines = [
            {"sku": "CRUNCHY-ARMCHAIR", "quantity": 3, "unit_price_minor": 1_001},
            {"sku": "OMINOUS-MIRROR", "quantity": 3, "unit_price_minor": 499},
        ]
        async with (
            Shop.open(database, **SETTINGS, stripe_multicapture=True) as shop,
            adapter(provider, is_multicapture=True) as payments,
        ):
            order_id = await shop.place(token=CARD, currency="KWD", lines=lines)
            await shop.reserve(order_id)
            await shop.pay(payments, provider="stripe")
            await shop.plan(order_id)
            for place in ("leeds", "lyon"):
                await shop.dispatch(order_id, place)
                await shop.pay(payments, provider="stripe")

            assert provider.captures == [3_000, 1_500]
            assert (await shop.order(order_id))["payment"]["captured_minor"] == 4_500


class TestAnswersThatAreLost:
    @pytest.mark.parametrize(
        "fault", [one for one in Fault if one is not Fault.OTHER_SCHEMA], ids=lambda fault: fault.name.lower()
    )
    @pytest.mark.parametrize("what", ["POST payment_intents", "POST capture"])
    async def test_move_money_once(self, shop: Shop, provider: StripeDouble, pay: Pay, what: str, fault: Fault) -> None:
        provider.fail(what, fault)
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        for _ in range(2):
            await pay()
            shop.clock.advance(SOON)
        await shop.plan(order_id)
        await shop.dispatch(order_id)
        for _ in range(2):
            await pay()
            shop.clock.advance(SOON)

        assert len(provider.intents) == 1
        assert provider.captures == [TOTAL_MINOR]
        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR

    async def test_are_not_waited_for_for_ever(self, shop: Shop, provider: StripeDouble) -> None:
        provider.never_answers = True
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)

        async with adapter(provider, call_timeout=timedelta(seconds=0.05)) as payments:
            await shop.pay(payments, provider="stripe")

        assert await shop.status(order_id) == "reserved"

    async def test_of_another_schema_are_no_answers(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        provider.fail("POST capture", Fault.OTHER_SCHEMA)
        order_id = await shipped(shop, pay)
        await pay()
        assert (await shop.order(order_id))["payment"]["captured_minor"] == 0

        shop.clock.advance(SOON)
        await pay()

        assert provider.captures == [TOTAL_MINOR]

    async def test_to_questions_change_nothing(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        provider.fail("POST capture", Fault.DONE_BUT_SILENT)
        provider.fail("GET one", Fault.FAILS, Fault.GARBLED, Fault.OTHER_SCHEMA, Fault.SILENT)
        order_id = await shipped(shop, pay)
        for _ in range(6):
            await pay()
            shop.clock.advance(timedelta(seconds=10))

        assert provider.captures == [TOTAL_MINOR]
        assert provider.requests.count("POST capture") == 1
        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR

    async def test_are_found_although_the_search_lags(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        provider.fail("POST payment_intents", Fault.DONE_BUT_SILENT)
        provider.is_searchable = False
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        await pay()
        shop.clock.advance(SOON)

        await pay()

        assert len(provider.intents) == 1, "the key is the same"
        assert await shop.status(order_id) == "confirmed"

    async def test_about_an_order_that_was_called_off_are_waited_for(
        self, shop: Shop, provider: StripeDouble, pay: Pay
    ) -> None:
        provider.fail("POST payment_intents", Fault.DONE_BUT_SILENT)
        provider.is_searchable = False
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        await pay()
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        shop.clock.advance(SOON)
        await pay()
        assert await shop.count("SELECT count(*) FROM payment_commands WHERE status = 'pending'") == 1

        provider.is_searchable = True
        shop.clock.advance(SOON)
        await pay()

        assert provider.intent["status"] == "canceled"
        assert provider.captures == []
        assert (await shop.published_types())[-2:] == ["payment.authorised", "payment.voided"]

    async def test_that_never_were_are_given_up_once_the_search_must_know(
        self, shop: Shop, provider: StripeDouble, pay: Pay
    ) -> None:
        provider.fail("POST payment_intents", Fault.SILENT)
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        await pay()
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        shop.clock.advance(timedelta(minutes=6))
        await pay()

        assert provider.intents == {}
        assert await shop.count("SELECT count(*) FROM payment_commands WHERE status = 'withdrawn'") == 1

    async def test_to_a_wrong_api_key_are_no_declines(
        self, shop: Shop, provider: StripeDouble, pay: Pay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.integration.orders.providers.stripe.API_KEY", "sk_rolled")
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        await pay()

        assert await shop.status(order_id) == "reserved"
        assert provider.intents == {}


class TestBooks:
    async def test_are_compared_with_orders(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        await shipped(shop, pay)
        await pay()
        async with adapter(provider) as payments:
            shop.backend.provider_books = {"stripe": payments.books}
            agreed = (await shop.get("/reports/settlement", **period())).json()
            provider.intents["pi_stray"] = provider.intent | {"id": "pi_stray", "metadata": {}}
            provider.intents["pi_1"]["amount_received"] -= 1
            differing = (await shop.get("/reports/settlement", **period())).json()

        assert agreed["statuses"] == {"matched": 1}
        assert [(line["status"], line["drift_minor"]) for line in differing["lines"]] == [
            ("differs", 1),
            ("unknown-to-us", TOTAL_MINOR),
        ]

    async def test_that_cannot_be_read_are_said_to_be_so(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        await shipped(shop, pay)
        await pay()
        provider.fail("GET one", Fault.FAILS)
        async with adapter(provider) as payments:
            shop.backend.provider_books = {"stripe": payments.books}
            silent = (await shop.get("/reports/settlement", **period())).json()
            provider.fail("GET payment_intents", Fault.FAILS)
            failing = await shop.get("/reports/settlement", **period())

        assert silent["statuses"] == {"not-compared": 1}
        assert (failing.status_code, failing.json()["code"]) == (503, "provider-books-unreadable")


class TestWebhook:
    async def test_confirms_an_order_whose_answer_was_lost(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        order_id = await self._lost(shop, provider, pay)

        response = await notify(shop, event(provider.intent))

        assert response.status_code == 200
        assert await shop.status(order_id) == "confirmed"

    @pytest.mark.parametrize("secret", [OLD_SECRET, SECRET])
    async def test_takes_either_secret_while_one_is_rolled(
        self, shop: Shop, provider: StripeDouble, pay: Pay, secret: str
    ) -> None:
        order_id = await self._lost(shop, provider, pay)

        assert (await notify(shop, event(provider.intent), secret=secret)).status_code == 200
        assert await shop.status(order_id) == "confirmed"

    async def test_applies_an_event_once(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        await self._lost(shop, provider, pay)

        for _ in range(3):
            assert (await notify(shop, event(provider.intent))).status_code == 200

        assert (await shop.published_types()).count("payment.authorised") == 1
        assert await shop.count("SELECT count(*) FROM payment_notices") == 1

    async def test_voids_what_succeeds_after_the_order_was_called_off(
        self, shop: Shop, provider: StripeDouble, pay: Pay
    ) -> None:
        order_id = await self._lost(shop, provider, pay)
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        await notify(shop, event(provider.intent))
        await pay()

        assert provider.intent["status"] == "canceled"

    async def test_voids_what_was_believed_never_to_have_been_asked_for(
        self, shop: Shop, provider: StripeDouble, pay: Pay
    ) -> None:
        provider.is_searchable = False
        order_id = await self._lost(shop, provider, pay)
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        shop.clock.advance(timedelta(hours=1))
        await pay()
        assert await shop.count("SELECT count(*) FROM payment_commands WHERE status = 'withdrawn'") == 1

        await notify(shop, event(provider.intent))
        await pay()

        assert provider.intent["status"] == "canceled"

    async def test_books_a_capture(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        provider.fail("POST capture", Fault.DONE_BUT_SILENT)
        order_id = await shipped(shop, pay)
        await pay()

        await notify(shop, event(provider.intent, number=2, kind="payment_intent.succeeded"))

        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR
        shop.clock.advance(SOON)
        await pay()
        assert (await shop.published_types()).count("payment.captured") == 1

    @pytest.mark.parametrize("change", [{"amount": TOTAL_MINOR - 1}, {"currency": "usd"}])
    async def test_with_another_amount_moves_nothing(
        self, shop: Shop, provider: StripeDouble, pay: Pay, change: dict[str, Any]
    ) -> None:
        order_id = await self._lost(shop, provider, pay)

        assert (await notify(shop, event(provider.intent | change))).status_code == 200
        assert await shop.status(order_id) == "reserved"

    @pytest.mark.parametrize("age", [timedelta(minutes=6), -timedelta(minutes=6)])
    async def test_of_another_time_is_refused(
        self, shop: Shop, provider: StripeDouble, pay: Pay, age: timedelta
    ) -> None:
        order_id = await self._lost(shop, provider, pay)

        response = await notify(shop, event(provider.intent), age=age)

        assert (response.status_code, response.json()["code"]) == (400, "notice-not-verified")
        assert await shop.status(order_id) == "reserved"

    @pytest.mark.parametrize(
        "header", ["", "t=1,v1=00", "v1=", "t=x,v1=x", "t=1", f"t={10**30},v1=00", "t=1,v0=00", "💥".encode()]
    )
    async def test_without_a_signature_is_refused(self, shop: Shop, header: str | bytes) -> None:
        response = await shop.client.post(
            "/v1/payment-webhooks/stripe",
            content=b"{}",
            headers=[(b"Stripe-Signature", header if isinstance(header, bytes) else header.encode())],
        )

        assert response.status_code == 400

    async def test_signed_with_another_secret_is_refused(self, shop: Shop, provider: StripeDouble, pay: Pay) -> None:
        order_id = await self._lost(shop, provider, pay)

        assert (await notify(shop, event(provider.intent), secret="whsec_guessed")).status_code == 400
        assert await shop.status(order_id) == "reserved"

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "null",
            "[]",
            "{",
            '{"id": "evt\\u0000", "type": "x", "data": {"object": {}}}',
            '{"id": "evt_1", "type": "x", "data": {"object": []}}',
            '{"id": "evt_1", "type": "x", "data": {"object": {"object": "payment_intent", "id": 7}}}',
            '{"id": "evt_1", "type": "x", "data": {"object": {"object": "refund"}}}',
        ],
    )
    async def test_that_makes_no_sense_is_refused(self, shop: Shop, body: str) -> None:
        assert (await notify(shop, body)).status_code in {400, 422}

    @pytest.mark.parametrize(
        "found",
        [
            {"object": "customer", "id": "cus_1"},
            {
                "object": "payment_intent",
                "id": "pi_9",
                "status": "requires_capture",
                "amount": 10**15,
                "currency": "gbp",
                "metadata": {"command_id": str(UUID(int=9))},
            },
            {
                "object": "payment_intent",
                "id": "pi_9",
                "status": "succeeded",
                "amount": 1,
                "currency": "gbp",
                "metadata": {"command_id": "another system's"},
            },
        ],
    )
    async def test_about_something_else_is_acknowledged(self, shop: Shop, found: dict[str, Any]) -> None:
        assert (await notify(shop, event(found))).status_code == 200

    async def test_of_a_provider_that_the_shop_does_not_have_is_not_found(self, shop: Shop) -> None:
        response = await shop.client.post("/v1/payment-webhooks/alipay", content=b"{}")

        assert response.status_code == 404

    async def _lost(self, shop: Shop, provider: StripeDouble, pay: Pay) -> UUID:
        """Have an authorisation succeed without our hearing of it."""
        provider.fail("POST payment_intents", Fault.DONE_BUT_SILENT)
        order_id = await shop.place(token=CARD)
        await shop.reserve(order_id)
        await pay()
        assert await shop.status(order_id) == "reserved"
        assert shop.clock.now() == NOW
        return order_id
