"""Alipay does everything once, and nobody else can speak in its name."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from services.orders.clients.alipay_payments import BEIJING, AlipayAccount, AlipayPayments
from services.orders.clients.alipay_signatures import NotAnRsaKey, Signer, Verifier
from tests.integration.orders.providers.alipay import APP_ID, POOR, WALLET, AlipayDouble, key_pair, signer
from tests.integration.orders.providers.double import Fault
from tests.integration.orders.shop import TOTAL_MINOR, Shop
from tests.support.postgres import FreshDatabase

SOON = timedelta(seconds=2)
# Longer than any test may take: nobody gives up because a machine is slow.
PATIENCE = timedelta(minutes=10)
TOTAL = "44.00"
FREEZE, PAY, REFUND = "alipay.fund.auth.order.freeze", "alipay.trade.pay", "alipay.trade.refund"
NOTIFY_URL = "https://shop.example/v1/payment-webhooks/alipay"

Pay = Callable[[], Awaitable[int]]


@pytest.fixture
async def provider() -> AsyncIterator[AlipayDouble]:
    async with AlipayDouble.open() as double:
        yield double


@pytest.fixture
async def shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    settings = {
        "payment_methods": {"card": "alipay"},
        "alipay_app_id": APP_ID,
        "alipay_private_key": SecretStr(key_pair("shop")[0]),
        "alipay_public_keys": (key_pair("alipay before")[1], key_pair("alipay")[1]),
    }
    async with Shop.open(database, **settings) as shop:
        yield shop


@pytest.fixture
async def pay(shop: Shop, provider: AlipayDouble) -> AsyncIterator[Pay]:
    account = AlipayAccount(
        app_id=APP_ID,
        signer=signer("shop"),
        verifier=Verifier([key_pair("alipay before")[1], key_pair("alipay")[1]]),
        gateway_url=f"{provider.url}/gateway.do",
        notify_url=NOTIFY_URL,
    )
    async with httpx.AsyncClient(timeout=PATIENCE.total_seconds(), trust_env=False) as client:
        payments = AlipayPayments(client, account, clock=shop.clock, calls_max=4, answer_within=PATIENCE)
        yield lambda: shop.pay(payments, provider="alipay", visible_after=timedelta(minutes=1))


async def placed(shop: Shop, *, token: str = WALLET) -> UUID:
    order_id = await shop.place(token=token, currency="CNY")
    await shop.reserve(order_id)
    return order_id


async def notify(shop: Shop, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return await shop.client.post("/v1/payment-webhooks/alipay", content=body, headers=headers)


def freeze_notice(shop: Shop, provider: AlipayDouble, **changes: str) -> bytes:
    [frozen] = provider.frozen.values()
    fields = {
        "notify_type": "fund_auth_freeze",
        "notify_id": "2026030200222",
        "notify_time": shop.clock.now().astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
        "status": "SUCCESS",
        "auth_no": frozen["auth_no"],
        "out_request_no": frozen["out_request_no"],
        "amount": frozen["amount"],
    }
    return provider.notice(**fields | changes)


class TestPayments:
    async def test_are_frozen_then_paid_then_refunded(self, shop: Shop, provider: AlipayDouble, pay: Pay) -> None:
        order_id = await placed(shop)
        await pay()
        assert [one["amount"] for one in provider.frozen.values()] == [TOTAL]
        await shop.plan(order_id)
        await shop.dispatch(order_id)
        await pay()
        assert [(one["total_amount"], one["mode"]) for one in provider.trades.values()] == [(TOTAL, "COMPLETE")]

        response = await shop.post(
            f"/orders/{order_id}/returns", {"reason": "too-big", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1}]}
        )
        lines = [{"sku": "OMINOUS-MIRROR", "quantity": 1, "restock_quantity": 1}]
        await shop.post(f"/returns/{response.json()['id']}/receipt", {"warehouse": "leeds", "lines": lines})
        await pay()

        assert [one["refund_amount"] for one in provider.refunds.values()] == ["5.00"]
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 500
        assert provider.notify_urls == {NOTIFY_URL}

    async def test_are_unfrozen_if_the_order_is_called_off(self, shop: Shop, provider: AlipayDouble, pay: Pay) -> None:
        provider.fail(FREEZE, Fault.DONE_BUT_SILENT)
        order_id = await placed(shop)
        await pay()
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        shop.clock.advance(SOON)

        await pay()

        assert [one["amount"] for one in provider.unfrozen.values()] == [TOTAL]

    @pytest.mark.parametrize(
        ("token", "currency", "reason"),
        [
            (POOR, "CNY", "insufficient-funds"),
            ("281111111111111111", "CNY", "unknown-payment"),
            (WALLET, "GBP", "currency-not-supported"),
        ],
    )
    async def test_that_are_declined_refuse_the_order(
        self, shop: Shop, pay: Pay, token: str, currency: str, reason: str
    ) -> None:
        order_id = await shop.place(token=token, currency=currency)
        await shop.reserve(order_id)

        await pay()

        timeline = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"]
        assert (timeline[-1]["stage"], timeline[-1]["detail"]) == ("refused", f"payment-declined: {reason}")


class TestAnswersThatAreLost:
    @pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
    @pytest.mark.parametrize("what", [FREEZE, PAY])
    async def test_move_money_once(self, shop: Shop, provider: AlipayDouble, pay: Pay, what: str, fault: Fault) -> None:
        provider.fail(what, fault)
        order_id = await placed(shop)
        for _ in range(2):
            await pay()
            shop.clock.advance(SOON)
        await shop.plan(order_id)
        await shop.dispatch(order_id)
        for _ in range(2):
            await pay()
            shop.clock.advance(SOON)

        assert [one["amount"] for one in provider.frozen.values()] == [TOTAL]
        assert [one["total_amount"] for one in provider.trades.values()] == [TOTAL]
        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR

    async def test_about_refunds_are_asked_for(self, shop: Shop, provider: AlipayDouble, pay: Pay) -> None:
        order_id = await placed(shop)
        await pay()
        await shop.plan(order_id)
        await shop.dispatch(order_id)
        await pay()
        provider.fail(REFUND, Fault.FAILS, Fault.DONE_BUT_SILENT)
        response = await shop.post(
            f"/orders/{order_id}/returns", {"reason": "too-big", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1}]}
        )
        lines = [{"sku": "OMINOUS-MIRROR", "quantity": 1, "restock_quantity": 1}]
        await shop.post(f"/returns/{response.json()['id']}/receipt", {"warehouse": "leeds", "lines": lines})
        for _ in range(3):
            await pay()
            shop.clock.advance(SOON)

        assert len(provider.refunds) == 1
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == 500

    async def test_signed_by_somebody_else_are_no_answers(self, shop: Shop, provider: AlipayDouble, pay: Pay) -> None:
        provider.signs_as = "mallory"
        order_id = await placed(shop)
        await pay()
        assert await shop.status(order_id) == "reserved"

        provider.signs_as = "alipay"
        shop.clock.advance(SOON)
        await pay()

        assert await shop.status(order_id) == "confirmed"
        assert len(provider.frozen) == 1


class TestNotice:
    async def _lost(self, shop: Shop, provider: AlipayDouble, pay: Pay) -> UUID:
        provider.fail(FREEZE, Fault.DONE_BUT_SILENT)
        order_id = await placed(shop)
        await pay()
        assert await shop.status(order_id) == "reserved"
        return order_id

    @pytest.mark.parametrize("signs_as", ["alipay", "alipay before"])
    async def test_confirms_the_order_once(self, shop: Shop, provider: AlipayDouble, pay: Pay, signs_as: str) -> None:
        order_id = await self._lost(shop, provider, pay)
        provider.signs_as = signs_as

        answers = [await notify(shop, freeze_notice(shop, provider)) for _ in range(2)]

        assert [(one.status_code, one.text) for one in answers] == [(200, "success")] * 2
        assert await shop.status(order_id) == "confirmed"
        assert (await shop.published_types()).count("payment.authorised") == 1

    async def test_after_a_cancellation_leads_to_an_unfreeze(
        self, shop: Shop, provider: AlipayDouble, pay: Pay
    ) -> None:
        order_id = await self._lost(shop, provider, pay)
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        await notify(shop, freeze_notice(shop, provider))
        await pay()

        assert len(provider.unfrozen) == 1

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"amount": "43.99"}, 200),
            ({"amount": "1E+999999"}, 400),
            ({"amount": "NaN"}, 400),
            ({"out_request_no": "another system's"}, 200),
            ({"out_request_no": "0" * 32}, 200),
            ({"app_id": "2021000000000002"}, 400),
            ({"notify_time": "2026-02-20 09:00:00"}, 400),
            ({"notify_time": "soon"}, 400),
            ({"notify_id": "\x00"}, 400),
            ({"notify_type": "dut_user_sign"}, 200),
            ({"status": "CLOSED"}, 200),
            ({"sign_type": "RSA"}, 400),
        ],
    )
    async def test_that_is_not_what_was_asked_for_moves_nothing(
        self, shop: Shop, provider: AlipayDouble, pay: Pay, changes: dict[str, Any], status: int
    ) -> None:
        order_id = await self._lost(shop, provider, pay)

        assert (await notify(shop, freeze_notice(shop, provider, **changes))).status_code in {status, 422}
        assert await shop.status(order_id) == "reserved"

    async def test_signed_by_somebody_else_is_refused(self, shop: Shop, provider: AlipayDouble, pay: Pay) -> None:
        order_id = await self._lost(shop, provider, pay)
        provider.signs_as = "mallory"

        assert (await notify(shop, freeze_notice(shop, provider))).status_code == 400
        assert await shop.status(order_id) == "reserved"

    @pytest.mark.parametrize("body", [b"", b"\xff", b"sign=x", b"&" * 500, b"a=1&" * 500, b"sign=%00&sign_type=RSA2"])
    async def test_that_makes_no_sense_is_refused(self, shop: Shop, body: bytes) -> None:
        assert (await notify(shop, body)).status_code == 400


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_a_text_that_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(NotAnRsaKey) as refused:
        Signer(text)
    assert "AAAA" not in str(refused.value)
    with pytest.raises(NotAnRsaKey):
        Verifier([text])
