"""Webhooks: their signatures, their schedule, their payloads, and the addresses that they may go to."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import FixedClock
from libs.common.events.base import Event
from libs.common.events.orders import OrderConfirmed, OrderPlaced, OrderShipped, PaymentCaptured, ReturnRequested
from libs.common.events.shapes import Allocation, Destination, OrderLine
from services.orders.clients.webhook_http import AddressGuard, HttpWebhooks
from services.orders.domain.webhooks import (
    PAYLOAD_BYTES_MAX,
    RETRY_SCHEDULE,
    TOLD,
    Answer,
    DeliveryStatus,
    UnknownEventType,
    UrlRefused,
    check_event_types,
    in_sequence,
    is_public_address,
    judge,
    matches,
    new_secret,
    payload_of,
    sign,
)
from tests.support.kafka import envelope_of

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ORDER_ID = UUID(int=7)
# Reading the system's certificates takes longer than most of these tests.
TLS = ssl.create_default_context()
# Far longer than any limit that is tried: who has not ended by then never will.
ENDED_SECONDS_MAX = 20.0


class TestSignatures:
    def test_are_those_of_the_specification(self) -> None:
        secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
        body = b'{"test": 2432232314}'
        sent_at = datetime.fromtimestamp(1_614_265_330, tz=UTC)

        headers = sign([secret], message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", sent_at=sent_at, body=body)

        signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body
        expected = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
        assert headers == {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": f"v1,{expected}",
        }

    def test_match_the_published_vector(self) -> None:
        headers = sign(
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            sent_at=datetime.fromtimestamp(1_614_265_330, tz=UTC),
            body=b'{"test": 2432232314}',
        )

        assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    def test_come_from_both_secrets_while_one_replaces_the_other(self) -> None:
        old, new = new_secret(), new_secret()

        both = sign([new, old], message_id="a", sent_at=NOW, body=b"{}")["webhook-signature"].split(" ")

        assert both == [
            sign([secret], message_id="a", sent_at=NOW, body=b"{}")["webhook-signature"] for secret in (new, old)
        ]

    def test_secrets_are_long_and_never_the_same(self) -> None:
        made = {new_secret() for _ in range(100)}

        assert len(made) == 100
        assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in made)


class TestSchedule:
    @given(st.integers(1, len(RETRY_SCHEDULE) - 1), st.floats(0, 1, exclude_max=True))
    def test_waits_as_published_and_a_little_longer(self, attempts: int, random: float) -> None:
        verdict = judge(Answer(status=500), attempts=attempts, now=NOW, random=lambda: random)

        assert verdict.status is DeliveryStatus.PENDING
        assert verdict.due_at is not None
        assert RETRY_SCHEDULE[attempts] <= verdict.due_at - NOW <= RETRY_SCHEDULE[attempts] * 1.1

    def test_ends_after_ten_attempts(self) -> None:
        verdict = judge(Answer(error="timeout"), attempts=10, now=NOW, random=lambda: 0)

        assert (verdict.status, verdict.due_at) == (DeliveryStatus.FAILED, None)

    @pytest.mark.parametrize("status", [200, 201, 204, 299])
    def test_knows_success(self, status: int) -> None:
        assert judge(Answer(status=status), attempts=1, now=NOW, random=lambda: 0).status is DeliveryStatus.DELIVERED

    @pytest.mark.parametrize("status", [100, 301, 302, 307, 308, 400, 404, 429, 500, 503, 600])
    def test_takes_nothing_else_for_success(self, status: int) -> None:
        assert judge(Answer(status=status), attempts=1, now=NOW, random=lambda: 0).status is DeliveryStatus.PENDING

    def test_calls_nobody_again_who_is_gone(self) -> None:
        verdict = judge(Answer(status=410), attempts=1, now=NOW, random=lambda: 0)

        assert (verdict.status, verdict.disable) == (DeliveryStatus.FAILED, "gone")

    @pytest.mark.parametrize("status", [429, 503])
    def test_leaves_the_endpoint_alone_for_as_long_as_it_asks(self, status: int) -> None:
        answer = Answer(status=status, retry_after=timedelta(minutes=20))

        verdict = judge(answer, attempts=1, now=NOW, random=lambda: 0)

        assert verdict.due_at == verdict.resume_at == NOW + timedelta(minutes=20)

    def test_does_not_wait_for_ever_because_it_is_asked_to(self) -> None:
        answer = Answer(status=503, retry_after=timedelta(days=4_000))

        assert judge(answer, attempts=1, now=NOW, random=lambda: 0).resume_at == NOW + timedelta(hours=24)


class TestPayloads:
    def test_hold_what_happened_and_no_person(self) -> None:
        event = OrderPlaced(
            order_id=ORDER_ID,
            customer_id="customer-7",
            channel="web",
            placed_at=NOW,
            currency="GBP",
            total_minor=4_400,
            lines=[OrderLine(line=1, sku="A", quantity=1, unit_price_minor=4_400)],
            destination=Destination(country="GB", latitude=51.5, longitude=-0.1),
        )

        payload = msgspec.json.decode(payload_of(envelope_of(event)))

        assert payload["type"] == "order.placed"
        assert payload["data"] == {
            "order_id": str(ORDER_ID),
            "channel": "web",
            "placed_at": "2026-03-02T09:00:00Z",
            "currency": "GBP",
            "total_minor": 4_400,
        }

    def test_stay_small_however_large_the_order_is(self) -> None:
        event = OrderConfirmed(
            order_id=ORDER_ID,
            customer_id="customer-7",
            placed_at=NOW,
            confirmed_at=NOW,
            currency="GBP" * 20_000,
            total_minor=1,
            allocations=[Allocation(warehouse="leeds", sku=f"SKU-{n}", quantity=1) for n in range(2_000)],
            destination=Destination(country="GB"),
        )

        payload = payload_of(envelope_of(event))

        assert len(payload) < PAYLOAD_BYTES_MAX
        assert msgspec.json.decode(payload)["data"]["order_id"] == str(ORDER_ID)


class TestEventTypes:
    def test_may_be_patterns(self) -> None:
        assert matches(["order.*"], "order.shipped")
        assert matches(["*"], "refund.issued")
        assert not matches(["order.shipped"], "order.shipped-twice")
        assert not matches(["order.*"], "payment.captured")

    def test_that_nothing_matches_are_refused(self) -> None:
        check_event_types(["order.*", "refund.issued", "reminder.due", "*"])
        for nothing in ("parcel.*", "order.shippe*", "order"):
            with pytest.raises(UnknownEventType) as refused:
                check_event_types(["order.*", nothing])
            assert refused.value.field == "/event_types/1"
            # What was sent is not repeated, and what there is, is.
            assert repr(nothing) not in str(refused.value)
            assert "order.shipped" in str(refused.value)

    @pytest.mark.parametrize("event", TOLD, ids=lambda event: event.type)
    def test_of_every_event_belong_to_an_order(self, event: type[Event]) -> None:
        assert "order_id" in event.__struct_fields__
        assert OrderShipped in TOLD


PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
]


class TestAddresses:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_that_are_not_public_are_refused(self, address: str) -> None:
        assert not is_public_address(address)

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
    def test_of_the_internet_pass(self, address: str) -> None:
        assert is_public_address(address)

    @pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "fd00:ec2::254"])
    def test_in_development_only_loopback_passes_too(self, address: str) -> None:
        assert is_public_address("127.0.0.1", is_loopback_allowed=True)
        assert not is_public_address(address, is_loopback_allowed=True)

    @pytest.mark.parametrize(
        "url",
        [
            "http://shop.example/hook",
            "ftp://shop.example",
            "file:///etc/passwd",
            "gopher://shop.example",
            "https://",
            "https:///hook",
            "https://user:pass@shop.example/",
            "https://shop.example@127.0.0.1/",
            "https://shop.example/#fragment",
            "https://shop.example:99999/",
            "https://shop.example:0/",
            "https://[::1",
            "https://localhost./",
            "https://shop.example\\@127.0.0.1/",
            "https://shop.example/a b",
            "https://shop.example/\x00",
            "https://sh\u00f6p.example/",
            "https://shop.example/" + "a" * 3_000,
            "shop.example",
        ],
    )
    async def test_of_a_wrong_form_are_refused(self, url: str) -> None:
        async def public(_host: str, _port: int) -> list[str]:
            return ["93.184.216.34"]

        with pytest.raises(UrlRefused):
            await AddressGuard(resolver=public).check(url)

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "[::1]",
            "[::ffff:169.254.169.254]",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.1",
            "localhost",
        ],
    )
    async def test_in_any_spelling_are_refused_by_where_they_lead(self, host: str) -> None:
        with pytest.raises(UrlRefused):
            await AddressGuard().check(f"https://{host}/hook")

    async def test_with_one_private_answer_among_public_ones_are_refused(self) -> None:
        async def mixed(_host: str, _port: int) -> list[str]:
            return ["93.184.216.34", "10.0.0.1"]

        with pytest.raises(UrlRefused):
            await AddressGuard(resolver=mixed).check("https://shop.example/hook")

    async def test_are_checked_again_for_the_connection_itself(self) -> None:
        answers = [["93.184.216.34"], ["127.0.0.1"]]

        async def rebinding(_host: str, _port: int) -> list[str]:
            return answers.pop(0)

        guard = AddressGuard(resolver=rebinding)
        await guard.check("https://shop.example/hook")
        async with HttpWebhooks(guard, clock=FixedClock(NOW)) as transport:
            answer = await transport.post("https://shop.example/hook", headers={}, body=b"{}")

        assert answer.error == "refused-address"
        assert answers == []


class TestTimeLimit:
    async def test_holds_whenever_it_strikes(self) -> None:
        """Most of these are over while the connection is made, where a cancellation can be lost."""

        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):
                await reader.read()
            writer.close()

        async def post(timeout_seconds: float) -> Answer:
            async with HttpWebhooks(
                AddressGuard(is_insecure_allowed=True),
                clock=FixedClock(NOW),
                ssl_context=TLS,
                timeout_seconds=timeout_seconds,
            ) as transport:
                return await transport.post(url, headers={}, body=b"{}")

        server = await asyncio.start_server(silence, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for number in range(60):
            call = asyncio.create_task(post(0.0001 * (1 + number)))  # noqa: TID251 - a group would wait for it
            ended, _ = await asyncio.wait([call], timeout=ENDED_SECONDS_MAX)

            assert ended, f"no end after {0.1 * (1 + number):.1f} ms"
            assert call.result().error == "timeout"
        server.close()


class TestSequence:
    def test_is_that_of_what_happened_whichever_topic_was_read_first(self) -> None:
        order_id = UUID(int=1)
        told = [
            OrderShipped(order_id=order_id, shipped_at=NOW),
            PaymentCaptured(order_id=order_id, amount_minor=1, currency="GBP", provider_reference="r"),
            ReturnRequested(return_id=UUID(int=2), order_id=order_id, reason="torn", lines=[]),
        ]
        happened = [
            msgspec.structs.replace(envelope_of(event), time=NOW + timedelta(seconds=second))
            for second, event in enumerate(told)
        ]

        assert in_sequence(happened[::-1]) == happened

    def test_of_one_topic_stays_as_it_is_whatever_the_clocks_said(self) -> None:
        ahead, behind = (
            msgspec.structs.replace(envelope_of(OrderShipped(order_id=UUID(int=1), shipped_at=NOW)), time=NOW + shift)
            for shift in (timedelta(seconds=9), timedelta(0))
        )

        assert in_sequence([ahead, behind]) == [ahead, behind]
