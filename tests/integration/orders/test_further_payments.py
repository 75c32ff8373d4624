"""What an edit or an exchange costs more is a payment of its own at Stripe and Alipay, once, or nothing happens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from libs.common.events.inventory import StockChanged, StockReserved
from libs.common.events.logistics import ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentPlanned
from libs.common.events.orders import OrderRecallRequested
from libs.common.events.shapes import Allocation
from libs.common.ids import new_id
from services.orders.clients.alipay_payments import BEIJING, AlipayAccount, AlipayPayments
from services.orders.clients.alipay_signatures import Verifier
from tests.integration.orders.providers import alipay, stripe
from tests.integration.orders.providers.alipay import AlipayDouble
from tests.integration.orders.providers.double import Fault
from tests.integration.orders.providers.stripe import StripeDouble
from tests.integration.orders.shop import EACH_LINE, NOW, TOTAL_MINOR, Shop, shipment_id
from tests.integration.orders.test_stripe import adapter, period
from tests.support.kafka import envelope_of
from tests.support.postgres import FreshDatabase

# The library passes text to httpx as it liked it some versions ago.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SECRET = "whsec_only"
SOON = timedelta(seconds=2)
# Longer than any test may take: nobody gives up because a machine is slow.
PATIENCE = timedelta(minutes=10)
MORE_MINOR = 900
A_LAMP = {"reason": "a lamp", "add": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": MORE_MINOR}]}
HELD = [Allocation(warehouse=place, sku=sku, quantity=units) for place, sku, units in EACH_LINE]
LAMP_HELD = Allocation(warehouse="leeds", sku="LAMP", quantity=1)
FREEZE = "alipay.fund.auth.order.freeze"

# What is new of an order of which an edit was refused: it has been asked for.
RENEWED = {"version": 0, "deadline_at": None}

Pay = Callable[[], Awaitable[int]]


@pytest.fixture
async def at_stripe() -> AsyncIterator[StripeDouble]:
    async with StripeDouble.open() as double:
        yield double


@pytest.fixture
async def at_alipay() -> AsyncIterator[AlipayDouble]:
    async with AlipayDouble.open() as double:
        yield double


@pytest.fixture
async def shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    async with Shop.open(database, **_by_stripe(is_multicapture=False)) as shop:
        yield shop


@pytest.fixture
async def pay(shop: Shop, at_stripe: StripeDouble) -> AsyncIterator[Pay]:
    async with adapter(at_stripe, is_multicapture=False) as payments:
        yield lambda: shop.pay(payments, provider="stripe", visible_after=timedelta(minutes=5))


@pytest.fixture
async def alipay_shop(database: FreshDatabase) -> AsyncIterator[Shop]:
    settings = {
        "payment_methods": {"card": "alipay"},
        "alipay_app_id": alipay.APP_ID,
        "alipay_private_key": SecretStr(alipay.key_pair("shop")[0]),
        "alipay_public_keys": (alipay.key_pair("alipay")[1],),
    }
    async with Shop.open(database, **settings) as shop:
        yield shop


@pytest.fixture
async def alipay_pay(alipay_shop: Shop, at_alipay: AlipayDouble) -> AsyncIterator[Pay]:
    account = AlipayAccount(
        app_id=alipay.APP_ID,
        signer=alipay.signer("shop"),
        verifier=Verifier([alipay.key_pair("alipay")[1]]),
        gateway_url=f"{at_alipay.url}/gateway.do",
    )
    async with httpx.AsyncClient(timeout=PATIENCE.total_seconds(), trust_env=False) as client:
        payments = AlipayPayments(client, account, clock=alipay_shop.clock, calls_max=4, answer_within=PATIENCE)
        yield lambda: alipay_shop.pay(payments, provider="alipay", visible_after=timedelta(minutes=1))


def _by_stripe(*, is_multicapture: bool) -> dict[str, Any]:
    return {
        "payment_methods": {"card": "stripe"},
        "stripe_api_key": stripe.API_KEY,
        "stripe_webhook_secrets": (SECRET,),
        "stripe_multicapture": is_multicapture,
    }


async def confirmed(shop: Shop, pay: Pay, **placed: Any) -> UUID:
    order_id = await shop.place(**{"token": stripe.CARD, **placed})
    await shop.reserve(order_id)
    await pay()
    await shop.plan(order_id)
    assert await shop.status(order_id) == "confirmed"
    return order_id


async def edit(shop: Shop, order_id: UUID, token: str | None) -> httpx.Response:
    tag = (await shop.get(f"/orders/{order_id}")).headers["ETag"]
    body = A_LAMP if token is None else {**A_LAMP, "payment_token": token}
    return await shop.post(f"/orders/{order_id}/edits", body, **{"If-Match": tag})


async def begin(shop: Shop, order_id: UUID, pay: Pay, token: str) -> None:
    """Edit an order and have the provider asked for what it costs more."""
    shop.clock.advance(SOON)
    response = await edit(shop, order_id, token)
    assert response.status_code == 202, response.text
    await pay()


async def finish(shop: Shop, order_id: UUID) -> None:
    """Let logistics and inventory agree to an edit that is paid for."""
    [recall] = [one.event for one in await shop.published() if isinstance(one.event, OrderRecallRequested)]
    await shop.tell(
        *(
            ShipmentCancelled(shipment_id=shipment_id(order_id, place), order_id=order_id, reason="edited")
            for place in ("leeds", "lyon")
        )
    )
    changed = StockChanged(order_id=order_id, edit_id=recall.edit_id, allocations=[*HELD, LAMP_HELD])
    await shop.deliver([envelope_of(changed, aggregate_version=2)])
    order = await shop.order(order_id)
    assert (order["status"], order["total_minor"]) == ("confirmed", TOTAL_MINOR + MORE_MINOR)


def planned(order_id: UUID, parcel_id: UUID, warehouse: str) -> ShipmentPlanned:
    return ShipmentPlanned(
        shipment_id=parcel_id,
        order_id=order_id,
        warehouse=warehouse,
        lines=[],
        carrier="gull",
        carrier_service="standard",
        cost_minor=300,
        currency="GBP",
        estimated_delivery_at=NOW + timedelta(days=2),
        decision_id=new_id(),
    )


async def ship(shop: Shop, order_id: UUID, pay: Pay) -> None:
    for place in ("leeds", "lyon"):
        ids = {"shipment_id": uuid4(), "order_id": order_id}
        left = ShipmentDispatched(**ids, warehouse=place, lines=[], dispatched_at=NOW, tracking_number="GULL-2")
        await shop.tell(left)
        await pay()
        await shop.tell(ShipmentDelivered(**ids, delivered_at=NOW))
    await pay()


async def send_back(shop: Shop, order_id: UUID, pay: Pay, *units: tuple[str, int]) -> dict[str, Any]:
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in units]
    announced = (await shop.post(f"/orders/{order_id}/returns", {"reason": "too much", "lines": lines})).json()
    found = [{**line, "restock_quantity": 0} for line in lines]
    await shop.post(f"/returns/{announced['id']}/receipt", {"warehouse": "leeds", "lines": found})
    await pay()
    closed: dict[str, Any] = (await shop.get(f"/returns/{announced['id']}")).json()
    return closed


async def edits_of(shop: Shop, order_id: UUID) -> list[tuple[str, str | None]]:
    items = (await shop.get(f"/orders/{order_id}/edits")).json()["items"]
    return [(one["status"], one.get("refusal")) for one in items]


async def steps_of(shop: Shop, kind: str) -> list[Any]:
    return await shop.fetch(
        "SELECT id, status FROM payment_commands WHERE kind = $1 ORDER BY amount_minor DESC, created_at", kind
    )


async def notify_stripe(shop: Shop, found: dict[str, Any], *, secret: str = SECRET) -> httpx.Response:
    body = stripe.event(found, number=len(await shop.fetch("SELECT 1 FROM payment_notices")) + 1)
    signed = stripe.signature(body, secret, at=int(shop.clock.now().timestamp()))
    headers = {"Stripe-Signature": signed, "Content-Type": "application/json"}
    return await shop.client.post("/v1/payment-webhooks/stripe", content=body, headers=headers)


async def notify_alipay(shop: Shop, double: AlipayDouble, frozen: dict[str, Any]) -> httpx.Response:
    body = double.notice(
        notify_type="fund_auth_freeze",
        notify_id=f"2026030200{frozen['auth_no']}",
        notify_time=shop.clock.now().astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
        status="SUCCESS",
        auth_no=frozen["auth_no"],
        out_request_no=frozen["out_request_no"],
        amount=frozen["amount"],
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return await shop.client.post("/v1/payment-webhooks/alipay", content=body, headers=headers)


class TestAtStripe:
    @pytest.mark.parametrize("is_multicapture", [False, True], ids=["captured-once", "captured-in-parts"])
    async def test_is_held_charged_and_paid_back_under_a_name_of_its_own(
        self, database: FreshDatabase, at_stripe: StripeDouble, *, is_multicapture: bool
    ) -> None:
        async with (
            Shop.open(database, **_by_stripe(is_multicapture=is_multicapture)) as shop,
            adapter(at_stripe, is_multicapture=is_multicapture) as payments,
        ):

            async def pay() -> int:
                return await shop.pay(payments, provider="stripe")

            order_id = await confirmed(shop, pay)
            await begin(shop, order_id, pay, stripe.OTHER_CARD)
            await finish(shop, order_id)

            first, second = at_stripe.intents.values()
            assert (first["amount"], second["amount"]) == (TOTAL_MINOR, MORE_MINOR)
            made = {at_stripe.made_under[str(step["id"])] for step in await steps_of(shop, "authorise")}
            assert made == {first["id"], second["id"]}, "each under the key of its own step"
            assert second["metadata"]["order_id"] == str(order_id)
            assert second["metadata"]["command_id"] != first["metadata"]["command_id"]

            await ship(shop, order_id, pay)
            assert await shop.status(order_id) == "settled"
            assert sum(at_stripe.captures) == TOTAL_MINOR + MORE_MINOR
            assert len(at_stripe.captures) == (3 if is_multicapture else 2)
            assert [one["amount_received"] for one in (first, second)] == [TOTAL_MINOR, MORE_MINOR]
            assert [one["status"] for one in (first, second)] == ["succeeded"] * 2

            everything = [("CRUNCHY-ARMCHAIR", 3), ("LAMP", 1), ("OMINOUS-MIRROR", 3)]
            opened = [await send_back(shop, order_id, pay, *units) for units in (everything[1:], everything[:1])]
            assert [one["status"] for one in opened] == ["closed", "closed"]
            refunds = [(one["payment_intent"], one["amount"]) for one in at_stripe.refunds.values()]
            assert refunds[0] == (first["id"], 2_400)
            assert sorted(refunds[1:]) == [(first["id"], TOTAL_MINOR - 2_400), (second["id"], MORE_MINOR)]
            shop.backend.provider_books = {"stripe": payments.books}
            assert await _settlement(shop) == {"matched": 1}

    @pytest.mark.parametrize("token", ["pm_card_poor", stripe.CARD])
    async def test_that_is_declined_or_used_up_leaves_the_order_as_it_was(
        self, shop: Shop, at_stripe: StripeDouble, pay: Pay, token: str
    ) -> None:
        order_id = await confirmed(shop, pay)
        before = await shop.order(order_id)

        await begin(shop, order_id, pay, token)

        assert {**await shop.order(order_id), **RENEWED} == {**before, **RENEWED}
        assert await edits_of(shop, order_id) == [("refused", "payment-declined")]
        assert (at_stripe.intent["status"], at_stripe.intent["amount_capturable"]) == ("requires_capture", TOTAL_MINOR)

    @pytest.mark.parametrize("fault", [Fault.DONE_BUT_SILENT, Fault.DONE_BUT_500, Fault.SILENT, Fault.FAILS])
    async def test_without_an_answer_is_asked_about_before_it_is_tried_again(
        self, shop: Shop, at_stripe: StripeDouble, pay: Pay, fault: Fault
    ) -> None:
        order_id = await confirmed(shop, pay)
        at_stripe.fail("POST payment_intents", fault)
        await begin(shop, order_id, pay, stripe.OTHER_CARD)
        assert await shop.status(order_id) == "editing"
        asked = len(at_stripe.requests)

        shop.clock.advance(SOON)
        await pay()
        await finish(shop, order_id)

        tried_again = [] if fault in {Fault.DONE_BUT_SILENT, Fault.DONE_BUT_500} else ["POST payment_intents"]
        assert at_stripe.requests[asked:] == ["GET search", *tried_again]
        assert [one["amount"] for one in at_stripe.intents.values()] == [TOTAL_MINOR, MORE_MINOR]

    async def test_is_let_go_of_with_the_first_if_the_order_is_called_off(
        self, shop: Shop, at_stripe: StripeDouble, pay: Pay
    ) -> None:
        order_id = await confirmed(shop, pay)
        await begin(shop, order_id, pay, stripe.OTHER_CARD)
        await finish(shop, order_id)

        parcels = [uuid4(), uuid4()]
        await shop.tell(*(planned(order_id, one, place) for one, place in zip(parcels, ("leeds", "lyon"), strict=True)))
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        await shop.tell(*(ShipmentCancelled(shipment_id=one, order_id=order_id, reason="asked") for one in parcels))
        await pay()

        assert await shop.status(order_id) == "cancelled"
        assert [one["status"] for one in at_stripe.intents.values()] == ["canceled"] * 2
        assert at_stripe.captures == []

    async def test_that_comes_after_its_edit_was_given_up_is_let_go_of_alone(
        self, shop: Shop, at_stripe: StripeDouble, pay: Pay
    ) -> None:
        order_id = await confirmed(shop, pay)
        at_stripe.is_searchable = False
        at_stripe.fail("POST payment_intents", Fault.DONE_BUT_SILENT)
        await begin(shop, order_id, pay, stripe.OTHER_CARD)
        shop.clock.advance(timedelta(minutes=16))
        await shop.deadlines.work()
        assert await edits_of(shop, order_id) == [("refused", "payment-timed-out")]
        shop.clock.advance(timedelta(hours=1))
        await pay()
        assert [step["status"] for step in await steps_of(shop, "authorise")] == ["succeeded", "withdrawn"]

        first, second = at_stripe.intents.values()
        assert (await notify_stripe(shop, second)).status_code == 200
        await pay()

        assert (first["status"], second["status"]) == ("requires_capture", "canceled")
        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"]) == ("confirmed", TOTAL_MINOR)

    async def test_that_never_came_about_is_not_tried_again_for_another_edit(
        self, shop: Shop, at_stripe: StripeDouble, pay: Pay
    ) -> None:
        order_id = await confirmed(shop, pay)
        at_stripe.fail("POST payment_intents", Fault.SILENT)
        await begin(shop, order_id, pay, stripe.OTHER_CARD)
        shop.clock.advance(timedelta(minutes=16))
        await shop.deadlines.work()

        await begin(shop, order_id, pay, "pm_card_poor")

        assert [edit["status"] for edit in await steps_of(shop, "authorise")] == ["succeeded", "pending", "declined"]
        shop.clock.advance(timedelta(hours=1))
        await pay()
        assert [one["amount"] for one in at_stripe.intents.values()] == [TOTAL_MINOR]
        assert (await steps_of(shop, "authorise"))[1]["status"] == "withdrawn"

    async def test_that_a_webhook_tells_of_goes_on_and_a_forged_one_does_not(
        self, shop: Shop, at_stripe: StripeDouble, pay: Pay
    ) -> None:
        order_id = await confirmed(shop, pay)
        at_stripe.fail("POST payment_intents", Fault.DONE_BUT_SILENT)
        await begin(shop, order_id, pay, stripe.OTHER_CARD)
        first, second = at_stripe.intents.values()

        forged = await notify_stripe(shop, second, secret="whsec_guessed")
        of_another_amount = await notify_stripe(shop, {**second, "amount": TOTAL_MINOR})
        of_the_first = await notify_stripe(shop, first)

        assert (forged.status_code, of_another_amount.status_code, of_the_first.status_code) == (400, 200, 200)
        assert [step["status"] for step in await steps_of(shop, "authorise")] == ["succeeded", "pending"]
        assert (await notify_stripe(shop, second)).status_code == 200
        await finish(shop, order_id)
        await ship(shop, order_id, pay)
        assert (await notify_stripe(shop, second)).status_code == 200
        references = await shop.fetch("SELECT reference FROM payment_commands WHERE reference IS NOT NULL")
        assert [row["reference"] for row in references] == [second["id"]]
        payment = (await shop.order(order_id))["payment"]
        assert (payment["authorised_minor"], payment["captured_minor"]) == (TOTAL_MINOR + MORE_MINOR,) * 2

    async def test_needs_a_token_of_its_own(self, shop: Shop, at_stripe: StripeDouble, pay: Pay) -> None:
        order_id = await confirmed(shop, pay)
        asked = len(at_stripe.requests)

        response = await edit(shop, order_id, None)

        await _is_refused_without_token(response, shop, order_id)
        assert await pay() == 0
        assert len(at_stripe.requests) == asked

    async def test_of_a_dearer_exchange_is_another_payment(self, shop: Shop, at_stripe: StripeDouble, pay: Pay) -> None:
        order_id = await confirmed(shop, pay)
        await shop.dispatch(order_id)
        await pay()
        await shop.arrive(order_id)
        mirrors = [{"sku": "OMINOUS-MIRROR", "quantity": 1}]
        wish = {"sku": "LAMP", "quantity": 1, "unit_price_minor": MORE_MINOR}
        announced = await shop.post(
            f"/orders/{order_id}/returns",
            {"reason": "too ominous", "lines": mirrors, "exchange_for": [wish], "payment_token": stripe.OTHER_CARD},
        )
        assert announced.status_code == 201, announced.text
        of_return = f"/returns/{announced.json()['id']}"
        await shop.post(f"{of_return}/arrival", {"warehouse": "leeds", "lines": mirrors})
        inspected = await shop.post(
            f"{of_return}/inspection",
            {"lines": [{**mirrors[0], "grade": "new", "disposition": "restock", "refund_percent": 100}]},
        )
        assert inspected.status_code == 200, inspected.text
        exchange_id = UUID(inspected.json()["exchange_order_id"])
        await shop.tell(StockReserved(order_id=exchange_id, allocations=[LAMP_HELD], decision_id=new_id()))
        await pay()

        first, second = at_stripe.intents.values()
        assert (second["amount"], second["metadata"]["order_id"]) == (MORE_MINOR - 500, str(exchange_id))
        assert await shop.status(exchange_id) == "confirmed"
        left = ShipmentDispatched(
            shipment_id=uuid4(),
            order_id=exchange_id,
            warehouse="leeds",
            lines=[],
            dispatched_at=NOW,
            tracking_number="GULL-3",
        )
        await shop.tell(left)
        await pay()
        assert [one["amount_received"] for one in (first, second)] == [TOTAL_MINOR, MORE_MINOR - 500]


class TestAtAlipay:
    async def test_is_frozen_paid_and_paid_back_under_a_number_of_its_own(
        self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay
    ) -> None:
        shop, pay = alipay_shop, alipay_pay
        order_id = await confirmed(shop, pay, token=alipay.WALLET, currency="CNY")
        await begin(shop, order_id, pay, alipay.NEXT_CODE)
        await finish(shop, order_id)
        assert [one["amount"] for one in at_alipay.frozen.values()] == ["44.00", "9.00"]
        assert set(at_alipay.frozen) == {step["id"].hex for step in await steps_of(shop, "authorise")}
        first, second = (one["auth_no"] for one in at_alipay.frozen.values())

        await ship(shop, order_id, pay)
        closed = await send_back(shop, order_id, pay, ("CRUNCHY-ARMCHAIR", 3), ("LAMP", 1), ("OMINOUS-MIRROR", 3))

        trades = {one["auth_no"]: (one["total_amount"], one["mode"]) for one in at_alipay.trades.values()}
        assert trades == {first: ("44.00", "COMPLETE"), second: ("9.00", "COMPLETE")}
        assert closed["status"] == "closed"
        by_trade = {one["trade_no"]: one["refund_amount"] for one in at_alipay.refunds.values()}
        assert by_trade == {one["trade_no"]: one["total_amount"] for one in at_alipay.trades.values()}

    @pytest.mark.parametrize("token", [alipay.POOR, alipay.WALLET])
    async def test_that_is_declined_or_used_up_leaves_the_order_as_it_was(
        self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay, token: str
    ) -> None:
        order_id = await confirmed(alipay_shop, alipay_pay, token=alipay.WALLET, currency="CNY")
        before = await alipay_shop.order(order_id)

        await begin(alipay_shop, order_id, alipay_pay, token)

        assert {**await alipay_shop.order(order_id), **RENEWED} == {**before, **RENEWED}
        assert await edits_of(alipay_shop, order_id) == [("refused", "payment-declined")]
        assert [str(rest) for rest in at_alipay.rests.values()] == ["44.00"]

    @pytest.mark.parametrize("fault", [Fault.DONE_BUT_SILENT, Fault.SILENT])
    async def test_without_an_answer_is_asked_about_before_it_is_tried_again(
        self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay, fault: Fault
    ) -> None:
        order_id = await confirmed(alipay_shop, alipay_pay, token=alipay.WALLET, currency="CNY")
        at_alipay.fail(FREEZE, fault)
        await begin(alipay_shop, order_id, alipay_pay, alipay.NEXT_CODE)
        asked = len(at_alipay.requests)

        alipay_shop.clock.advance(SOON)
        await alipay_pay()
        await finish(alipay_shop, order_id)

        assert at_alipay.requests[asked] == "alipay.fund.auth.operation.detail.query"
        assert at_alipay.requests[asked + 1 :] == ([FREEZE] if fault is Fault.SILENT else [])
        assert [one["amount"] for one in at_alipay.frozen.values()] == ["44.00", "9.00"]

    async def test_is_unfrozen_with_the_first_if_the_order_is_called_off(
        self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay
    ) -> None:
        order_id = await confirmed(alipay_shop, alipay_pay, token=alipay.WALLET, currency="CNY")
        await begin(alipay_shop, order_id, alipay_pay, alipay.NEXT_CODE)

        await alipay_shop.tell(
            *(
                ShipmentCancelled(shipment_id=shipment_id(order_id, place), order_id=order_id, reason="edited")
                for place in ("leeds", "lyon")
            )
        )
        await alipay_shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        await alipay_pay()

        assert await alipay_shop.status(order_id) == "cancelled"
        assert [str(rest) for rest in at_alipay.rests.values()] == ["0.00", "0.00"]
        assert at_alipay.trades == {}

    async def test_that_waits_for_the_customer_is_given_up_in_time_and_let_go_of_if_it_comes_late(
        self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay
    ) -> None:
        order_id = await confirmed(alipay_shop, alipay_pay, token=alipay.WALLET, currency="CNY")
        at_alipay.is_confirmed_by_customer = False
        await begin(alipay_shop, order_id, alipay_pay, alipay.NEXT_CODE)
        assert await alipay_shop.status(order_id) == "editing"

        alipay_shop.clock.advance(timedelta(minutes=16))
        await alipay_shop.deadlines.work()
        await alipay_pay()
        assert await edits_of(alipay_shop, order_id) == [("refused", "payment-timed-out")]
        assert await alipay_shop.status(order_id) == "confirmed"
        at_alipay.is_confirmed_by_customer = True
        alipay_shop.clock.advance(timedelta(minutes=2))
        await alipay_pay()

        assert at_alipay.requests.count(FREEZE) == 2
        assert [str(rest) for rest in at_alipay.rests.values()] == ["44.00", "0.00"]

    async def test_that_a_notice_tells_of_goes_on_and_a_forged_one_does_not(
        self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay
    ) -> None:
        order_id = await confirmed(alipay_shop, alipay_pay, token=alipay.WALLET, currency="CNY")
        at_alipay.fail(FREEZE, Fault.DONE_BUT_SILENT)
        await begin(alipay_shop, order_id, alipay_pay, alipay.NEXT_CODE)
        _, second = at_alipay.frozen.values()

        at_alipay.signs_as = "mallory"
        forged = await notify_alipay(alipay_shop, at_alipay, second)
        at_alipay.signs_as = "alipay"

        assert forged.status_code == 400
        assert [step["status"] for step in await steps_of(alipay_shop, "authorise")] == ["succeeded", "pending"]
        assert (await notify_alipay(alipay_shop, at_alipay, second)).status_code == 200
        await finish(alipay_shop, order_id)
        references = await alipay_shop.fetch("SELECT reference FROM payment_commands WHERE reference IS NOT NULL")
        assert [row["reference"] for row in references] == [second["auth_no"]]

    async def test_needs_a_code_of_its_own(self, alipay_shop: Shop, at_alipay: AlipayDouble, alipay_pay: Pay) -> None:
        order_id = await confirmed(alipay_shop, alipay_pay, token=alipay.WALLET, currency="CNY")

        response = await edit(alipay_shop, order_id, None)

        await _is_refused_without_token(response, alipay_shop, order_id)
        assert await alipay_pay() == 0
        assert len(at_alipay.frozen) == 1


async def _is_refused_without_token(response: httpx.Response, shop: Shop, order_id: UUID) -> None:
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "payment-token-missing"), problem
    assert [one["field"] for one in problem["errors"]] == ["payment_token"]
    assert await shop.status(order_id) == "confirmed"
    assert await edits_of(shop, order_id) == []


async def _settlement(shop: Shop) -> dict[str, int]:
    statuses: dict[str, int] = (await shop.get("/reports/settlement", **period())).json()["statuses"]
    return statuses
