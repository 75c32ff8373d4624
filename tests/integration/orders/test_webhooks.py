"""Webhooks over real HTTP: what a receiver that is down, slow, gone or hostile is sent, and when."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from libs.common.data_keys import DataKeys, add_secret, create_data_keys, drop_secrets
from libs.common.db import is_transient
from libs.common.events.base import Envelope
from libs.common.ids import new_id
from libs.common.sealing import Seal
from services.orders.bootstrap import SERVICE
from services.orders.bootstrap.build import build
from services.orders.clients.webhook_http import AddressGuard, HttpWebhooks
from services.orders.consumers import NotificationHandler
from services.orders.handlers.webhooks import WebhookDispatcher
from services.orders.settings import OrdersSettings
from services.orders.storage.webhooks import PostgresWebhooks, PostgresWebhookUnits, purge_deliveries, renew_seals
from tests.integration.orders.receiver import Received, Receiver, response
from tests.integration.orders.shop import NOW, Shop, key
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase

# Reading the system's certificates takes longer than most of these tests.
TLS = ssl.create_default_context()


@dataclass
class Desk:
    """A shop whose webhooks may go to this machine, and a receiver there."""

    shop: Shop
    receiver: Receiver
    dispatcher: WebhookDispatcher
    keys: Path

    @property
    def seal(self) -> Seal:
        return DataKeys.of(self.keys).seal

    async def register(self, **changes: Any) -> dict[str, Any]:
        registered = await self.shop.post("/webhooks", {"url": self.receiver.url, **changes})
        assert registered.status_code == 201, registered.text
        body: dict[str, Any] = registered.json()
        return body

    async def hear(self, envelopes: Sequence[Envelope] | None = None) -> None:
        """Hand the notifications everything that was published, as their consumer group would."""
        handler = NotificationHandler(clock=self.shop.clock, bind=partial(PostgresWebhooks, seal=self.seal))
        async with self.shop.database.transaction() as transaction:
            await handler(await self.shop.published() if envelopes is None else envelopes, transaction)

    async def deliveries(self, webhook_id: str, **filters: Any) -> list[dict[str, Any]]:
        page = await self.shop.get(f"/webhooks/{webhook_id}/deliveries", **filters)
        assert page.status_code == 200, page.text
        items: list[dict[str, Any]] = page.json()["items"]
        return items

    async def webhook(self, webhook_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.shop.get(f"/webhooks/{webhook_id}")).json()
        return body


@asynccontextmanager
async def desk_of(database: FreshDatabase, *, timeout_seconds: float = 15) -> AsyncIterator[Desk]:
    with TemporaryDirectory() as folder:
        keys = Path(folder) / "data-keys.json"
        create_data_keys(keys)
        async with _desk_of(database, keys, timeout_seconds=timeout_seconds) as desk:
            yield desk


@asynccontextmanager
async def _desk_of(database: FreshDatabase, keys: Path, *, timeout_seconds: float) -> AsyncIterator[Desk]:
    async with (
        Shop.open(database, webhook_insecure_allowed=True, data_keys_file=keys) as shop,
        Receiver.open() as receiver,
        HttpWebhooks(
            AddressGuard(is_insecure_allowed=True),
            clock=shop.clock,
            ssl_context=TLS,
            timeout_seconds=timeout_seconds,
        ) as transport,
    ):
        dispatcher = WebhookDispatcher(
            PostgresWebhookUnits(database, seal=DataKeys.of(keys).seal),
            transport,
            clock=shop.clock,
            poll_seconds=0.01,
            is_transient=is_transient,
            jitter=lambda: 0.0,
        )
        yield Desk(shop, receiver, dispatcher, keys)


@pytest.fixture
async def desk(database: FreshDatabase) -> AsyncIterator[Desk]:
    async with desk_of(database) as desk:
        yield desk


def is_signed(request: Received, secret: str) -> bool:
    """Verify as a receiver would."""
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256).digest()
    return any(
        hmac.compare_digest(expected, base64.b64decode(signature.removeprefix("v1,")))
        for signature in request.headers["webhook-signature"].split(" ")
    )


class TestOutage:
    async def test_what_a_receiver_missed_for_an_hour_arrives_later_signed_in_order_and_once(self, desk: Desk) -> None:
        registered = await desk.register()
        desk.receiver.answer = lambda _: response(500)
        order_ids = [await desk.shop.place() for _ in range(3)]
        for _ in range(12):
            await desk.hear()
            await desk.dispatcher.deliver_due()
            desk.shop.clock.advance(timedelta(minutes=5))
        for order_id in order_ids:
            await desk.shop.confirm(order_id)
        await desk.hear()
        await desk.dispatcher.deliver_due()
        assert {str(request.payload["type"]) for request in desk.receiver.requests} == {"order.placed"}
        assert len(desk.receiver.requests) == 3 * 4

        desk.receiver.requests.clear()
        desk.receiver.answer = lambda _: response(200)
        desk.shop.clock.advance(timedelta(hours=2))
        await desk.dispatcher.deliver_due()

        for order_id in order_ids:
            told = [one.payload["type"] for one in desk.receiver.requests if one.order_id == str(order_id)]
            published = [
                envelope.event.type
                for envelope in await desk.shop.published()
                if getattr(envelope.event, "order_id", None) == order_id
            ]
            assert told == published
            assert told[0] == "order.placed"
        assert all(is_signed(request, registered["secret"]) for request in desk.receiver.requests)
        assert len({request.headers["webhook-id"] for request in desk.receiver.requests}) == len(desk.receiver.requests)
        assert {one["status"] for one in await desk.deliveries(registered["id"])} == {"delivered"}

    async def test_a_failing_delivery_holds_back_only_its_order(self, desk: Desk) -> None:
        registered = await desk.register()
        stubborn, easy = await desk.shop.place(), await desk.shop.place()
        desk.receiver.answer = lambda request: response(500 if request.order_id == str(stubborn) else 204)
        await desk.hear()

        await desk.dispatcher.deliver_due()

        by_order = {
            str(order): [r for r in desk.receiver.requests if r.order_id == str(order)] for order in (stubborn, easy)
        }
        assert [one.payload["type"] for one in by_order[str(stubborn)]] == ["order.placed"]
        assert [one.payload["type"] for one in by_order[str(easy)]] == ["order.placed", "order.approved"]
        waiting = await desk.deliveries(registered["id"], status="pending")
        assert {one["order_id"] for one in waiting} == {str(stubborn)}
        assert [one["type"] for one in waiting] == ["order.approved", "order.placed"]
        assert "due_at" not in waiting[0]

    async def test_what_was_given_up_can_be_sent_again(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        since = desk.shop.clock.now()
        order_ids = [await desk.shop.place() for _ in range(2)]
        desk.receiver.answer = lambda _: response(500)
        await desk.hear()
        for _ in range(10):
            await desk.dispatcher.deliver_due()
            desk.shop.clock.advance(timedelta(hours=25))
        assert len(desk.receiver.requests) == 20
        assert {one["status"] for one in await desk.deliveries(registered["id"])} == {"failed"}
        assert (await desk.webhook(registered["id"]))["disabled_reason"] == "unreachable"

        desk.receiver.answer = lambda _: response(204)
        enabled = await desk.shop.client.patch(
            f"/v1/webhooks/{registered['id']}", json={"status": "active"}, headers={"Idempotency-Key": "again"}
        )
        assert enabled.json()["status"] == "active"
        replayed = await desk.shop.post(f"/webhooks/{registered['id']}/replay", {"since": since.isoformat()})
        await desk.dispatcher.deliver_due()

        assert replayed.json() == {"replayed": 2}
        assert {one.order_id for one in desk.receiver.accepted()[-2:]} == {str(one) for one in order_ids}
        deliveries = await desk.deliveries(registered["id"])
        assert {one["status"] for one in deliveries} == {"delivered"}
        log = (await desk.shop.get(f"/webhooks/{registered['id']}/deliveries/{deliveries[0]['id']}")).json()["log"]
        assert [one["status"] for one in log] == [500] * 10 + [204]

    async def test_a_delivered_message_is_replayed_under_the_same_id(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        await desk.shop.place()
        await desk.hear()
        await desk.dispatcher.deliver_due()
        [delivery] = await desk.deliveries(registered["id"])

        again = await desk.shop.post(f"/webhooks/{registered['id']}/deliveries/{delivery['id']}/replay", None)
        twice = await desk.shop.post(f"/webhooks/{registered['id']}/deliveries/{delivery['id']}/replay", None)
        await desk.dispatcher.deliver_due()

        assert again.status_code == 202
        assert (twice.status_code, twice.json()["code"]) == (409, "webhook-delivery-pending")
        assert [one.headers["webhook-id"] for one in desk.receiver.requests] == [delivery["event_id"]] * 2


class TestOneEffect:
    async def test_an_event_that_comes_twice_is_sent_once(self, desk: Desk) -> None:
        await desk.register(event_types=["order.placed"])
        await desk.shop.place()
        published = await desk.shop.published()

        await desk.hear([*published, *published])
        await desk.hear(published)
        await desk.dispatcher.deliver_due()

        assert len(desk.receiver.requests) == 1

    async def test_two_replicas_share_the_work(self, desk: Desk) -> None:
        await desk.register()
        for _ in range(10):
            await desk.shop.place()
        await desk.hear()
        async with HttpWebhooks(
            AddressGuard(is_insecure_allowed=True), clock=desk.shop.clock, ssl_context=TLS
        ) as transport:
            other = WebhookDispatcher(
                PostgresWebhookUnits(desk.shop.database, seal=desk.seal),
                transport,
                clock=desk.shop.clock,
                poll_seconds=0.01,
                is_transient=is_transient,
            )
            await asyncio.gather(desk.dispatcher.deliver_due(), other.deliver_due())
            await desk.dispatcher.deliver_due()

        assert len(desk.receiver.requests) == 20
        assert len({request.headers["webhook-id"] for request in desk.receiver.requests}) == 20

    async def test_a_replica_that_dies_is_replaced_when_its_lease_ends(self, desk: Desk) -> None:
        await desk.register(event_types=["order.placed"])
        await desk.shop.place()
        await desk.hear()
        now = desk.shop.clock.now()
        units = PostgresWebhookUnits(desk.shop.database, seal=desk.seal)
        taken = await units.run(
            lambda webhooks: webhooks.claim(
                now=now, leased_until=now + timedelta(seconds=60), limit=10, of_endpoint_max=10, busy={}
            )
        )
        assert len(taken) == 1
        assert await desk.dispatcher.deliver_due() == 0

        desk.shop.clock.advance(timedelta(seconds=61))

        assert await desk.dispatcher.deliver_due() == 1
        assert len(desk.receiver.requests) == 1

    async def test_nothing_from_before_an_endpoint_was_registered_is_sent(self, desk: Desk) -> None:
        await desk.shop.place()
        desk.shop.clock.advance(timedelta(seconds=1))
        await desk.register()

        await desk.hear()

        assert await desk.dispatcher.deliver_due() == 0


class TestAnswers:
    async def test_gone_disables_the_endpoint(self, desk: Desk) -> None:
        registered = await desk.register()
        desk.receiver.answer = lambda _: response(410)
        await desk.shop.place()
        await desk.hear()

        await desk.dispatcher.deliver_due()

        assert len(desk.receiver.requests) == 1
        shown = await desk.webhook(registered["id"])
        assert (shown["status"], shown["disabled_reason"]) == ("disabled", "gone")
        desk.shop.clock.advance(timedelta(days=2))
        assert await desk.dispatcher.deliver_due() == 0

    async def test_a_redirect_is_a_failure_and_is_not_followed(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        desk.receiver.answer = lambda _: response(302, Location="http://169.254.169.254/latest/meta-data")
        await desk.shop.place()
        await desk.hear()

        await desk.dispatcher.deliver_due()

        [delivery] = await desk.deliveries(registered["id"])
        assert (delivery["status"], delivery["last_status"]) == ("pending", 302)
        assert len(desk.receiver.requests) == 1

    async def test_too_many_requests_holds_back_the_whole_endpoint(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        desk.receiver.answer = lambda _: response(429, Retry_After="600")
        await desk.shop.place()
        await desk.hear()
        await desk.dispatcher.deliver_due()
        await desk.shop.place()
        await desk.hear()

        assert await desk.dispatcher.deliver_due() == 0
        assert (await desk.webhook(registered["id"]))["resume_at"] == "2026-03-02T09:10:00Z"
        desk.receiver.answer = lambda _: response(204)
        desk.shop.clock.advance(timedelta(minutes=10))
        assert await desk.dispatcher.deliver_due() == 2

    async def test_an_endless_body_is_not_read_to_its_end(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        desk.receiver.answer = lambda _: response(200, body=b"\x00x" * 10_000_000)
        await desk.shop.place()
        await desk.hear()

        await desk.dispatcher.deliver_due()

        [delivery] = await desk.deliveries(registered["id"])
        shown = await desk.shop.get(f"/webhooks/{registered['id']}/deliveries/{delivery['id']}")
        assert delivery["status"] == "delivered"
        assert len(shown.json()["log"][0]["excerpt"]) == 500

    async def test_what_is_no_http_is_a_failure(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        desk.receiver.answer = lambda _: b"SSH-2.0-OpenSSH_9.9\r\n"
        await desk.shop.place()
        await desk.hear()

        await desk.dispatcher.deliver_due()

        assert [one["last_error"] for one in await desk.deliveries(registered["id"])] == ["protocol"]

    async def test_a_closed_port_is_a_failure(self, desk: Desk) -> None:
        registered = await desk.register(url="http://127.0.0.1:1/hook", event_types=["order.placed"])
        await desk.shop.place()
        await desk.hear()

        await desk.dispatcher.deliver_due()

        assert [one["last_error"] for one in await desk.deliveries(registered["id"])] == ["connection"]

    async def test_silence_is_a_failure_after_a_while(self, database: FreshDatabase) -> None:
        async with desk_of(database, timeout_seconds=0.05) as desk:
            registered = await desk.register(event_types=["order.placed"])
            await desk.shop.place()
            await desk.hear()

            async def unanswered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read()
                writer.close()

            silent = await asyncio.start_server(unanswered, "127.0.0.1", 0)
            await desk.shop.fetch(
                "UPDATE webhook_endpoints SET url = $1 RETURNING id",
                f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/",
            )
            await desk.dispatcher.deliver_due()
            silent.close()
            await silent.wait_closed()

            assert [one["last_error"] for one in await desk.deliveries(registered["id"])] == ["timeout"]


class TestSecrets:
    async def test_both_sign_while_one_replaces_the_other(self, desk: Desk) -> None:
        registered = await desk.register(event_types=["order.placed"])
        rotated = (await desk.shop.post(f"/webhooks/{registered['id']}/secret", None)).json()

        await desk.shop.place()
        await desk.hear()
        await desk.dispatcher.deliver_due()
        desk.shop.clock.advance(timedelta(hours=25))
        await desk.shop.place()
        await desk.hear()
        await desk.dispatcher.deliver_due()

        during, after = desk.receiver.requests
        assert is_signed(during, registered["secret"])
        assert is_signed(during, rotated["secret"])
        assert is_signed(after, rotated["secret"])
        assert not is_signed(after, registered["secret"])

    async def test_are_shown_only_when_they_are_made(self, desk: Desk) -> None:
        registered = await desk.register()

        shown = await desk.webhook(registered["id"])
        listed = (await desk.shop.get("/webhooks")).json()["items"]

        assert registered["secret"].startswith("whsec_")
        assert "secret" not in shown
        assert listed == [shown]


class TestRoutes:
    async def test_refuse_what_cannot_be_sent_to(self, desk: Desk) -> None:
        refusals: list[tuple[dict[str, Any], str]] = [
            ({"url": "http://10.0.0.1/"}, "/url"),
            ({"url": "https://169.254.169.254/"}, "/url"),
            ({"url": "https://nowhere.invalid/"}, "/url"),
            ({"url": "https://[::ffff:10.0.0.1]/"}, "/url"),
            ({"url": "https://a\x00b/"}, "/url"),
            ({"url": "http://127.0.0.1/", "event_types": []}, "/event_types"),
            ({"url": "http://127.0.0.1/", "event_types": ["parcel.*"]}, "/event_types/0"),
            ({"url": "http://127.0.0.1/", "event_types": ["order.*"] * 51}, "/event_types"),
            ({"url": "http://127.0.0.1/", "description": "a\x00b"}, "/description"),
            ({"url": 7}, "/url"),
        ]
        for body, field in refusals:
            refused = await desk.shop.post("/webhooks", body)

            assert refused.status_code == 422, refused.text
            assert field in refused.text

    async def test_are_for_operators(self, desk: Desk) -> None:
        headers = {**key("storefront"), "Idempotency-Key": "x"}
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("GET", "/{id}"),
            ("PATCH", "/{id}"),
            ("POST", "/{id}/secret"),
            ("POST", "/{id}/replay"),
            ("GET", "/{id}/deliveries"),
            ("GET", "/{id}/deliveries/{id}"),
            ("POST", "/{id}/deliveries/{id}/replay"),
        ):
            url = f"/v1/webhooks{path.format(id=new_id())}"
            denied = await desk.shop.client.request(method, url, headers=headers)
            assert denied.status_code == 403, (method, path)

    async def test_know_only_what_there_is(self, desk: Desk) -> None:
        registered = await desk.register()
        unknown = UUID(int=1)

        assert (await desk.shop.get(f"/webhooks/{unknown}")).status_code == 404
        assert (await desk.shop.get(f"/webhooks/{unknown}/deliveries")).status_code == 404
        assert (await desk.shop.get(f"/webhooks/{registered['id']}/deliveries/{unknown}")).status_code == 404
        assert (await desk.shop.post(f"/webhooks/{unknown}/secret", None)).status_code == 404
        bad = await desk.shop.get(f"/webhooks/{registered['id']}/deliveries", cursor="WzFlMzBd")
        assert bad.status_code == 422

    async def test_register_once_for_a_key(self, desk: Desk) -> None:
        body = {"url": desk.receiver.url}

        first = await desk.shop.post("/webhooks", body, idempotency_key="one")
        second = await desk.shop.post("/webhooks", body, idempotency_key="one")

        assert first.json() == second.json()
        assert len((await desk.shop.get("/webhooks")).json()["items"]) == 1

    async def test_page_through_deliveries(self, desk: Desk) -> None:
        registered = await desk.register()
        for _ in range(3):
            await desk.shop.place()
        await desk.hear()

        first = (await desk.shop.get(f"/webhooks/{registered['id']}/deliveries", limit=4)).json()
        second = (
            await desk.shop.get(f"/webhooks/{registered['id']}/deliveries", limit=4, cursor=first["next_cursor"])
        ).json()

        assert [len(first["items"]), len(second["items"])] == [4, 2]
        assert "next_cursor" not in second


async def test_the_log_is_kept_for_as_long_as_it_should(desk: Desk) -> None:
    await desk.register()
    await desk.shop.place()
    await desk.hear()
    await desk.dispatcher.deliver_due()

    async with desk.shop.database.transaction() as transaction:
        assert await purge_deliveries(transaction, now=NOW + timedelta(days=44), older_than=timedelta(days=45)) == 0
        assert await purge_deliveries(transaction, now=NOW + timedelta(days=46), older_than=timedelta(days=45)) == 2
    assert await desk.shop.count("SELECT count(*) FROM webhook_attempts") == 0


async def test_the_role_tells_what_the_service_publishes(
    infrastructure: Infrastructure, database: FreshDatabase
) -> None:
    async with (
        desk_of(database) as desk,
        TestBus.open(infrastructure, topics=SERVICE.topics, groups=SERVICE.groups) as bus,
    ):
        settings = OrdersSettings(
            database_url=SecretStr(database.url),
            kafka_bootstrap_servers=bus.bootstrap_servers,
            kafka_topic_prefix=bus.topic_prefix,
            webhook_insecure_allowed=True,
            data_keys_file=desk.keys,
        )
        process = build(settings, frozenset({"notifications"}))
        await desk.register()
        order_id = await desk.shop.place()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for component in process.components:
                group.create_task(component.run(stop))
            # This bus says that all of it happened long ago.
            await desk.shop.fetch("UPDATE webhook_endpoints SET created_at = '2000-01-01' RETURNING id")
            for envelope in await desk.shop.published():
                await bus.publish(envelope.event, event_id=envelope.id)
                await bus.publish(envelope.event, event_id=envelope.id)

            async def told() -> list[str]:
                return [request.payload["type"] for request in desk.receiver.requests]

            types = await eventually(told, lambda types: len(types) == 2)
            stop.set()
        for close in reversed(process.closers):
            await close()

    assert types == ["order.placed", "order.approved"]
    assert {request.order_id for request in desk.receiver.requests} == {str(order_id)}


class TestSecretsAtRest:
    async def _stored(self, desk: Desk) -> list[str]:
        rows = await desk.shop.fetch("SELECT secret, previous_secret FROM webhook_endpoints")
        return [secret for row in rows for secret in row if secret is not None]

    async def _renew(self, desk: Desk, seal: Seal) -> int:
        return await desk.shop.database.run(lambda transaction: renew_seals(transaction, seal=seal))

    async def _is_sent_signed(self, desk: Desk, secret: str) -> bool:
        await desk.shop.place()
        await desk.hear()
        await desk.dispatcher.deliver_due()
        return is_signed(desk.receiver.requests[-1], secret)

    async def test_no_secret_is_readable_in_the_database(self, desk: Desk) -> None:
        webhook = await desk.register()
        answers = [
            await desk.shop.post(f"/webhooks/{webhook['id']}/secret", {}, idempotency_key="rotate") for _ in range(2)
        ]
        rotated = answers[0].json()

        assert answers[0].content == answers[1].content
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        kept = await desk.shop.fetch("SELECT body FROM idempotency_keys")
        assert kept
        assert not [row for row in kept if b"whsec" in row["body"]]
        stored = await self._stored(desk)
        assert len(stored) == 2
        assert all(one.startswith("sealed:") and "whsec" not in one for one in stored)
        assert await self._is_sent_signed(desk, rotated["secret"])
        assert is_signed(desk.receiver.requests[-1], webhook["secret"])

    async def test_a_secret_from_before_there_was_a_key_goes_on_and_is_sealed(self, desk: Desk) -> None:
        webhook = await desk.register()
        await desk.shop.fetch("UPDATE webhook_endpoints SET secret = $1", webhook["secret"])

        assert (await desk.webhook(webhook["id"]))["status"] == "active"
        assert await self._renew(desk, desk.seal) == 1
        assert await self._renew(desk, desk.seal) == 0
        [stored] = await self._stored(desk)
        assert stored.startswith("sealed:")
        assert await self._is_sent_signed(desk, webhook["secret"])

    async def test_keys_change_while_everybody_goes_on(self, desk: Desk) -> None:
        webhook = await desk.register()
        add_secret(desk.keys)

        # Who was started before opens what somebody else has sealed anew.
        assert await self._renew(desk, desk.seal) == 1
        assert await self._is_sent_signed(desk, webhook["secret"])
        assert drop_secrets(desk.keys) == 1
        assert await self._renew(desk, desk.seal) == 0
        assert await self._is_sent_signed(desk, webhook["secret"])
