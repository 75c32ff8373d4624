"""Reminders: once each, not at night, over real SMTP and webhooks, and only while there is a reason."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP
from pydantic import SecretStr

from libs.common.db import is_transient
from libs.common.events.logistics import ShipmentFailed
from libs.common.sealing import Seal
from services.orders.bootstrap.notifications import build_notifiers
from services.orders.bootstrap.policies import quiet_hours, reminder_rules
from services.orders.clients.webhook_http import AddressGuard, HttpWebhooks
from services.orders.handlers.reminders import ReminderSender, ReminderWatch
from services.orders.handlers.webhooks import WebhookDispatcher
from services.orders.settings import OrdersSettings
from services.orders.storage.reminders import PostgresReminderUnits
from services.orders.storage.webhooks import PostgresWebhookUnits
from tests.integration.orders.observer import Observer
from tests.integration.orders.receiver import Receiver
from tests.integration.orders.shop import Shop, key, shipment_id
from tests.support.postgres import FreshDatabase

OPEN = Seal(list)
OPERATOR = "ops@shop.example"
HELD = {"lines": [{"sku": "CRUNCHY-ARMCHAIR", "quantity": 2, "unit_price_minor": 9_000_000}]}


@dataclass
class Mailbox:
    """A mail server's memory; `refusal` is what it answers instead of taking a message."""

    messages: list[EmailMessage] = field(default_factory=list)
    refusal: str | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refusal is not None:
            return self.refusal
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"

    def to(self, address: str) -> list[EmailMessage]:
        return [message for message in self.messages if address in str(message["To"])]


@dataclass
class Desk:
    """A shop that reminds."""

    shop: Shop
    mailbox: Mailbox
    settings: OrdersSettings

    def watch(self) -> ReminderWatch:
        return ReminderWatch(
            PostgresReminderUnits(self.shop.database, seal=OPEN),
            reminder_rules(self.settings),
            quiet_hours=quiet_hours(self.settings),
            clock=self.shop.clock,
        )

    def sender(self) -> ReminderSender:
        return ReminderSender(
            PostgresReminderUnits(self.shop.database, seal=OPEN),
            build_notifiers(self.settings),
            operators=self.settings.reminder_operators,
            clock=self.shop.clock,
            jitter=lambda: 0.0,
        )

    async def remind(self, after: timedelta = timedelta(0)) -> int:
        """Let time pass, decide and send; return how many reminders were decided."""
        self.shop.clock.advance(after)
        made = await self.watch().work()
        await self.sender().work()
        return made

    async def follow(self) -> None:
        await Observer(self.shop, self.settings).follow()

    async def shown(self, order_id: UUID) -> list[tuple[str, str, str]]:
        items = (await self.shop.get(f"/orders/{order_id}/reminders")).json()["items"]
        return sorted((one["rule"], one["channel"], one["status"]) for one in items)

    async def keep_contact(self, email: str = "ann@customer.example") -> None:
        kept = await self.shop.client.put("/v1/customers/customer-7/contact", json={"email": email})
        assert kept.status_code == 204, kept.text


@pytest.fixture
async def mail_server() -> AsyncIterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailbox, hostname="mail.shop.example", loop=asyncio.get_running_loop()), "127.0.0.1", 0
    )
    yield mailbox, server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def desk(database: FreshDatabase, mail_server: tuple[Mailbox, int]) -> AsyncIterator[Desk]:
    mailbox, port = mail_server
    settings: dict[str, Any] = {
        "webhook_insecure_allowed": True,
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
        "smtp_sender": "orders@shop.example",
        "reminder_operators": (OPERATOR,),
    }
    async with Shop.open(database, **settings) as shop:
        yield Desk(shop, mailbox, OrdersSettings(database_url=SecretStr(database.url), **settings))


class TestOperators:
    async def test_are_reminded_once_of_a_review(self, desk: Desk) -> None:
        order_id = await desk.shop.place(**HELD)
        assert await desk.shop.status(order_id) == "held"
        assert await desk.remind(timedelta(hours=3)) == 0

        assert await desk.remind(timedelta(hours=1)) == 1
        assert await desk.remind() == 0
        assert await desk.remind(timedelta(hours=2)) == 0

        [message] = desk.mailbox.to(OPERATOR)
        assert message["Subject"] == f"Review waiting: order {order_id}"
        assert str(message["Message-ID"]).endswith("@shop.example>")
        assert await desk.shown(order_id) == [
            ("review-waiting", "email", "sent"),
            ("review-waiting", "log", "sent"),
            ("review-waiting", "webhook", "sent"),
        ]

    async def test_are_reminded_before_a_parcel_has_to_leave_even_at_night(self, desk: Desk) -> None:
        order_id = await desk.shop.place()
        await desk.shop.confirm(order_id)
        await desk.follow()
        delay = (await desk.shop.get(f"/orders/{order_id}/delay")).json()
        left = datetime.fromisoformat(delay["ship_by"]) - desk.shop.clock.now()

        assert await desk.remind(left - timedelta(hours=7)) == 0
        assert await desk.remind(timedelta(hours=2)) == 1

        [message] = desk.mailbox.to(OPERATOR)
        assert str(message["Subject"]).startswith("Has to leave soon")

    async def test_are_told_of_late_orders_by_day(self, desk: Desk) -> None:
        order_id = await desk.shop.place()
        await desk.shop.confirm(order_id)
        await desk.follow()
        delay = (await desk.shop.get(f"/orders/{order_id}/delay")).json()
        # Promises end at midnight.
        await desk.remind(datetime.fromisoformat(delay["promised_by"]) - desk.shop.clock.now())
        late = [one for one in await desk.shown(order_id) if one[0] == "late"]
        assert {status for _, _, status in late} == {"pending"}

        await desk.remind(timedelta(hours=8))

        assert {status for rule, _, status in await desk.shown(order_id) if rule == "late"} == {"sent"}


async def ended(shop: Shop, *left: str, **changes: Any) -> UUID:
    """Return an order that an operator ended when these warehouses were known to have sent their parcel."""
    order_id = await shop.place(**changes)
    await shop.confirm(order_id)
    await shop.plan(order_id)
    if left:
        await shop.dispatch(order_id, *left)
    await shop.post(f"/orders/{order_id}/actions", {"action": "force-compensate", "reason": "fraud"})
    assert await shop.status(order_id) == "cancelled"
    return order_id


class TestParcelsThatCouldNotBeStopped:
    async def test_are_told_of_at_once_even_at_night_and_each_but_once(self, desk: Desk) -> None:
        order_id = await ended(desk.shop)
        assert await desk.remind(timedelta(hours=14)) == 0

        for _ in range(2):
            await desk.shop.dispatch(order_id, "leeds")
        made = await asyncio.gather(*(desk.watch().work() for _ in range(3)))
        await desk.sender().work()

        assert sum(made) == 1
        [message] = desk.mailbox.to(OPERATOR)
        assert message["Subject"] == f"Left although cancelled: order {order_id}"
        assert f"Parcel {shipment_id(order_id, 'leeds')}" in message.get_content()
        assert await desk.shown(order_id) == [
            ("parcel-not-stopped", "email", "sent"),
            ("parcel-not-stopped", "log", "sent"),
            ("parcel-not-stopped", "webhook", "sent"),
        ]

        # Of the other one only the arrival is heard, together with that of the first.
        await desk.shop.arrive(order_id)
        assert await desk.remind() == 1
        assert await desk.remind(timedelta(days=1)) == 0
        assert len(desk.mailbox.to(OPERATOR)) == 2

    async def test_are_not_those_that_were_known_to_have_left(self, desk: Desk) -> None:
        order_id = await ended(desk.shop, "leeds")

        await desk.shop.dispatch(order_id, "leeds")
        assert await desk.remind() == 0

        await desk.shop.arrive(order_id)
        assert await desk.remind() == 1
        [message] = desk.mailbox.to(OPERATOR)
        assert str(shipment_id(order_id, "lyon")) in message.get_content()

    async def test_are_not_told_of_any_more_once_they_have_failed(self, desk: Desk) -> None:
        order_id = await ended(desk.shop)
        desk.mailbox.refusal = "451 come back later"
        await desk.shop.dispatch(order_id, "leeds")
        assert await desk.remind() == 1

        parcel = shipment_id(order_id, "leeds")
        await desk.shop.tell(
            ShipmentFailed(
                shipment_id=parcel, order_id=order_id, reason="not accepted", failed_at=desk.shop.clock.now()
            )
        )
        desk.mailbox.refusal = None
        await desk.remind(timedelta(seconds=5))

        assert desk.mailbox.messages == []
        assert ("parcel-not-stopped", "email", "withdrawn") in await desk.shown(order_id)

    async def test_of_imported_history_are_not_told_of(self, desk: Desk) -> None:
        order_id = await ended(desk.shop, placed_at="2011-06-01T10:00:00Z")
        await desk.shop.dispatch(order_id, "leeds")

        assert await desk.remind() == 0


class TestCustomers:
    async def test_are_reminded_of_their_payment_where_they_can_be_reached(self, desk: Desk) -> None:
        await desk.keep_contact()
        order_id = await desk.shop.place(token="tok_late")
        await desk.shop.reserve(order_id)

        assert await desk.remind(timedelta(minutes=7)) == 1

        [message] = desk.mailbox.to("ann@customer.example")
        assert message["Subject"] == "Your payment is still open"
        assert "customer-7" not in message.as_string()

    async def test_without_an_address_are_not_written_to(self, desk: Desk) -> None:
        order_id = await desk.shop.place(token="tok_late")
        await desk.shop.reserve(order_id)

        await desk.remind(timedelta(minutes=7))

        assert desk.mailbox.messages == []
        items = (await desk.shop.get(f"/orders/{order_id}/reminders")).json()["items"]
        assert {one["channel"]: one["last_outcome"] for one in items} == {
            "email": "no-recipient",
            "webhook": "no-recipient",
        }

    async def test_are_reminded_of_a_return_that_does_not_come(self, desk: Desk) -> None:
        await desk.keep_contact()
        order_id = await desk.shop.place()
        await desk.shop.settle(order_id)
        await desk.shop.post(
            f"/orders/{order_id}/returns",
            {"reason": "too large", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1}]},
        )

        assert await desk.remind(timedelta(days=6)) == 0
        assert await desk.remind(timedelta(days=1, hours=1)) == 1
        assert [message["Subject"] for message in desk.mailbox.messages] == ["Your return"]

    async def test_are_not_disturbed_at_night_nor_when_the_reason_is_gone(self, desk: Desk) -> None:
        await desk.keep_contact()
        desk.shop.clock.advance(timedelta(hours=13))
        order_id = await desk.shop.place(token="tok_late")
        await desk.shop.reserve(order_id)
        await desk.remind(timedelta(minutes=7))
        assert desk.mailbox.messages == []
        await desk.shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed my mind"})

        await desk.remind(timedelta(hours=12))

        assert desk.mailbox.messages == []
        assert {status for _, _, status in await desk.shown(order_id)} == {"withdrawn"}

    async def test_of_imported_history_hear_nothing(self, desk: Desk) -> None:
        await desk.shop.place(**HELD, placed_at="2011-06-01T10:00:00Z")

        assert await desk.remind(timedelta(hours=5)) == 0


class TestOnce:
    async def test_however_many_replicas_decide_and_send(self, desk: Desk) -> None:
        for _ in range(5):
            await desk.shop.place(**HELD)
        desk.shop.clock.advance(timedelta(hours=5))

        made = await asyncio.gather(*(desk.watch().work() for _ in range(4)))
        await asyncio.gather(*(desk.sender().work() for _ in range(4)))

        assert sum(made) == 5
        assert len(desk.mailbox.messages) == 5

    async def test_and_not_again_after_the_order_was_held_a_second_time(self, desk: Desk) -> None:
        order_id = await desk.shop.place(**HELD)
        await desk.remind(timedelta(hours=5))
        await desk.shop.fetch("UPDATE notifications SET status = 'sent' RETURNING id")

        assert await desk.remind(timedelta(hours=5)) == 0
        assert len(await desk.shown(order_id)) == 3

    async def test_a_mail_server_that_is_away_is_tried_again(self, desk: Desk) -> None:
        order_id = await desk.shop.place(**HELD)
        desk.mailbox.refusal = "451 come back later"
        await desk.remind(timedelta(hours=5))
        assert ("review-waiting", "email", "pending") in await desk.shown(order_id)

        desk.mailbox.refusal = None
        await desk.sender().work()
        assert desk.mailbox.messages == []
        desk.shop.clock.advance(timedelta(seconds=5))
        await desk.sender().work()

        assert len(desk.mailbox.messages) == 1
        assert ("review-waiting", "email", "sent") in await desk.shown(order_id)


class TestWebhooks:
    async def test_hear_of_reminders_with_ids_only(self, desk: Desk) -> None:
        await desk.keep_contact()
        async with (
            Receiver.open() as receiver,
            HttpWebhooks(AddressGuard(is_insecure_allowed=True), clock=desk.shop.clock) as transport,
        ):
            registered = await desk.shop.post(
                "/webhooks", {"url": receiver.url, "event_types": ["reminder.due"], "description": "reminders"}
            )
            assert registered.status_code == 201, registered.text
            order_id = await desk.shop.place(token="tok_late")
            await desk.shop.reserve(order_id)
            await desk.remind(timedelta(minutes=7))
            dispatcher = WebhookDispatcher(
                PostgresWebhookUnits(desk.shop.database, seal=OPEN),
                transport,
                clock=desk.shop.clock,
                poll_seconds=0.01,
                is_transient=is_transient,
            )
            await dispatcher.deliver_due()

        [told] = receiver.requests
        assert told.payload["type"] == "reminder.due"
        assert told.payload["data"]["condition"] == "payment-pending"
        assert told.order_id == str(order_id)
        assert b"ann@customer.example" not in told.body


class TestContacts:
    async def test_are_kept_shown_to_operators_and_erased(self, desk: Desk) -> None:
        await desk.keep_contact("first@customer.example")
        await desk.keep_contact("second@customer.example")
        shown = await desk.shop.get("/customers/customer-7/contact")
        assert shown.json() == {"email": "second@customer.example"}
        hidden = await desk.shop.client.get("/v1/customers/customer-7/contact", headers=key("storefront"))
        assert hidden.status_code == 403

        assert (await desk.shop.client.delete("/v1/customers/customer-7/contact")).status_code == 204
        assert (await desk.shop.get("/customers/customer-7/contact")).status_code == 404

    async def test_must_be_one_plain_address(self, desk: Desk) -> None:
        wrong: tuple[Any, ...] = (
            "",
            "nobody",
            "a@b",
            "a@b.c\nBcc: x@y.z",
            "a b@c.de",
            "a@b.cd,e@f.gh",
            "a\x00@b.cd",
            "\u00e4@b.cd",
            "a" * 250 + "@b.cd",
            7,
        )
        for email in wrong:
            refused = await desk.shop.client.put("/v1/customers/customer-7/contact", json={"email": email})

            assert refused.status_code == 422, email
            assert "email" in refused.text or "NUL" in refused.text
