"""Money moves once, whatever the provider says or keeps to itself, and wherever somebody crashes."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from services.orders.clients.sandbox_payments import SandboxPayments
from services.orders.handlers.ports import PaymentCommand, PaymentOutcome, PaymentResult, Unit
from tests.integration.orders.shop import LATE, TOTAL_MINOR, Shop, shipment_id
from tests.support.postgres import FreshDatabase

LEASE = timedelta(seconds=61)
SOON = timedelta(seconds=2)
DONE_AT_PROVIDER = "SELECT count(*) FROM sandbox.sandbox_operations WHERE kind = $1 AND outcome = 'succeeded'"
PARCELS_MINOR = {"leeds": 2_900, "lyon": 1_500}
CHARGE = "SELECT authorised_minor, captured_minor, refunded_minor, voided_minor FROM sandbox.sandbox_charges"


class Crash(Exception):
    """The process dies here."""


class CrashingAfterTheCall:
    """A provider that does everything, to a caller that dies before it hears of it."""

    def __init__(self, provider: SandboxPayments) -> None:
        self._provider = provider

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        await self._provider.execute(commands)
        raise Crash

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        return await self._provider.query(commands)


class CrashingBeforeTheCall(CrashingAfterTheCall):
    """A caller that dies before the provider hears of anything."""

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        raise Crash(f"{len(commands)} commands were never sent")


class Unreachable:
    """A provider behind a broken line."""

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        return [PaymentResult(PaymentOutcome.UNKNOWN) for _ in commands]

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        return [PaymentResult(PaymentOutcome.UNKNOWN) for _ in commands]


async def captures(shop: Shop) -> list[int]:
    rows = await shop.fetch(
        "SELECT amount_minor FROM sandbox.sandbox_operations WHERE kind = 'capture' ORDER BY created_at"
    )
    return [row["amount_minor"] for row in rows]


async def charge(shop: Shop) -> tuple[int, ...]:
    [row] = await shop.fetch(CHARGE)
    return tuple(row)


async def claim(unit: Unit, shop: Shop, *, limit: int = 10) -> Sequence[PaymentCommand]:
    now = shop.clock.now()
    return await unit.payments.claim(provider="sandbox", now=now, leased_until=now + LEASE, limit=limit)


class TestAuthorisation:
    async def test_confirms_the_order(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.reserve(order_id)

        await shop.pay()

        order = await shop.order(order_id)
        assert (order["status"], order["payment"]["authorised_minor"]) == ("confirmed", TOTAL_MINOR)
        assert (await shop.published_types())[2:] == ["order.reserved", "payment.authorised", "order.confirmed"]

    async def test_that_is_declined_refuses_the_order(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_declined")
        await shop.reserve(order_id)

        await shop.pay()

        order = await shop.order(order_id)
        assert (order["status"], order["status_reason"]) == ("refused", "payment-declined")
        assert (await shop.published_types())[2:] == ["order.reserved", "payment.failed", "order.refused"]

    async def test_with_a_token_nobody_knows_is_declined(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_from_elsewhere")
        await shop.reserve(order_id)

        await shop.pay()

        assert await shop.status(order_id) == "refused"

    async def test_without_an_answer_is_asked_about_and_not_repeated(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_timeout")
        await shop.reserve(order_id)
        await shop.pay()
        assert await shop.status(order_id) == "reserved"

        shop.clock.advance(SOON)
        await shop.pay()

        assert await shop.status(order_id) == "confirmed"
        assert await charge(shop) == (TOTAL_MINOR, 0, 0, 0)

    async def test_that_is_answered_late_is_waited_for(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_late")
        await shop.reserve(order_id)
        await shop.pay()
        shop.clock.advance(SOON)
        await shop.pay()
        assert await shop.status(order_id) == "reserved"

        shop.clock.advance(LATE)
        await shop.pay()

        assert await shop.status(order_id) == "confirmed"

    async def test_that_succeeds_after_a_cancellation_is_voided(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_late")
        await shop.reserve(order_id)
        await shop.pay()
        response = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")

        shop.clock.advance(LATE)
        await shop.pay()

        assert await charge(shop) == (TOTAL_MINOR, 0, 0, TOTAL_MINOR)
        assert (await shop.published_types())[-3:] == ["order.cancelled", "payment.authorised", "payment.voided"]
        payment = (await shop.order(order_id))["payment"]
        assert payment["authorised_minor"] == payment["voided_minor"] > 0

    async def test_that_succeeds_after_the_deadline_is_voided(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_late")
        await shop.reserve(order_id)
        await shop.pay()
        shop.clock.advance(timedelta(minutes=15))

        await shop.deadlines.work()

        order = await shop.order(order_id)
        assert (order["status"], order["status_reason"]) == ("refused", "payment-timed-out")
        await shop.pay()
        assert await charge(shop) == (TOTAL_MINOR, 0, 0, TOTAL_MINOR)

    async def test_is_never_asked_for_once_the_order_is_gone(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.reserve(order_id)
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        await shop.pay()

        assert await shop.count("SELECT count(*) FROM sandbox.sandbox_operations") == 0
        assert await shop.count("SELECT count(*) FROM payment_commands WHERE status = 'withdrawn'") == 1
        assert await shop.pay() == 0


class TestCapture:
    async def test_follows_each_parcel_and_is_exact(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await shop.plan(order_id)
        await shop.dispatch(order_id, "lyon")
        await shop.pay()
        assert (await shop.order(order_id))["payment"]["captured_minor"] == PARCELS_MINOR["lyon"]

        await shop.dispatch(order_id, "leeds")
        await shop.pay()

        assert await captures(shop) == [PARCELS_MINOR["lyon"], PARCELS_MINOR["leeds"]]
        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR
        assert (await shop.published_types())[-2:] == ["order.shipped", "payment.captured"]

    @pytest.mark.parametrize(
        ("capture_at", "amounts"), [("first-dispatch", [TOTAL_MINOR]), ("last-dispatch", [TOTAL_MINOR])]
    )
    async def test_can_be_made_at_once(self, database: FreshDatabase, capture_at: str, amounts: list[int]) -> None:
        async with Shop.open(database, capture_at=capture_at) as shop:
            order_id = await shop.place()
            await shop.confirm(order_id)
            await shop.dispatch(order_id, "lyon")
            await shop.pay()
            assert await captures(shop) == (amounts if capture_at == "first-dispatch" else [])

            await shop.dispatch(order_id, "leeds")
            await shop.pay()

            assert await captures(shop) == amounts

    async def test_without_an_answer_happens_once(self, shop: Shop) -> None:
        order_id = await shop.place(token="tok_capture_timeout")
        await shop.ship(order_id)
        await shop.pay()
        assert (await shop.order(order_id))["payment"]["captured_minor"] == 0

        shop.clock.advance(SOON)
        await shop.pay()

        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR
        assert await charge(shop) == (TOTAL_MINOR, TOTAL_MINOR, 0, 0)
        assert await shop.count(DONE_AT_PROVIDER, "capture") == len(PARCELS_MINOR)

    @pytest.mark.parametrize("crashing", [CrashingAfterTheCall, CrashingBeforeTheCall])
    async def test_survives_a_crash_on_either_side_of_the_call(
        self, shop: Shop, crashing: type[CrashingAfterTheCall]
    ) -> None:
        order_id = await shop.place()
        await shop.ship(order_id)
        with pytest.raises(Crash):
            await shop.pay(crashing(shop.provider))
        assert await shop.pay() == 0, "the lease protects the command"

        shop.clock.advance(LEASE)
        await shop.pay()

        assert await charge(shop) == (TOTAL_MINOR, TOTAL_MINOR, 0, 0)
        assert await shop.count(DONE_AT_PROVIDER, "capture") == len(PARCELS_MINOR)
        assert (await shop.published_types()).count("payment.captured") == len(PARCELS_MINOR)

    async def test_survives_an_outage_of_the_provider(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.ship(order_id)
        for _ in range(5):
            await shop.pay(Unreachable())
            shop.clock.advance(timedelta(minutes=1))

        await shop.pay()

        assert (await shop.order(order_id))["payment"]["captured_minor"] == TOTAL_MINOR

    async def test_is_left_alone_by_an_executor_whose_lease_has_ended(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.ship(order_id)

        class SlowerThanItsLease(CrashingAfterTheCall):
            async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
                results = await self._provider.execute(commands)
                shop.clock.advance(LEASE)
                await shop.pay()
                return results

        await shop.pay(SlowerThanItsLease(shop.provider))

        assert await charge(shop) == (TOTAL_MINOR, TOTAL_MINOR, 0, 0)
        assert (await shop.published_types()).count("payment.captured") == len(PARCELS_MINOR)

    async def test_is_made_once_by_executors_that_race(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(10)]
        for order_id in orders:
            await shop.confirm(order_id)
        for order_id in orders:
            await shop.dispatch(order_id)

        done = await asyncio.gather(*(shop.pay() for _ in range(5)))

        assert sum(done) == 10 * len(PARCELS_MINOR)
        assert await shop.count(DONE_AT_PROVIDER, "capture") == 10 * len(PARCELS_MINOR)


class TestClaim:
    async def test_leaves_alone_what_another_executor_is_claiming(self, shop: Shop) -> None:
        orders = [await shop.place() for _ in range(3)]
        await shop.reserve(*orders)

        async with shop.database.transaction() as transaction:
            mine = await claim(shop.units.bind(transaction), shop, limit=2)
            others = await shop.units.run(lambda unit: claim(unit, shop))

        assert (len(mine), len(others)) == (2, 1)
        assert {command.order_id for command in [*mine, *others]} == set(orders)

    async def test_counts_attempts(self, shop: Shop) -> None:
        await shop.reserve(await shop.place())
        [first] = await shop.units.run(lambda unit: claim(unit, shop))

        shop.clock.advance(LEASE)
        [second] = await shop.units.run(lambda unit: claim(unit, shop))

        assert (first.attempts, second.attempts) == (1, 2)


class TestProvider:
    async def test_does_the_same_thing_once_for_two_callers(self, shop: Shop) -> None:
        await shop.reserve(await shop.place())
        [command] = await shop.units.run(lambda unit: claim(unit, shop))
        # Connections are opened first: otherwise the first caller would be done before the others are there.
        await asyncio.gather(*(shop.provider.query([command]) for _ in range(4)))

        results = await asyncio.gather(*(shop.provider.execute([command]) for _ in range(4)))

        assert {result.outcome for [result] in results} == {PaymentOutcome.SUCCEEDED}
        assert await charge(shop) == (TOTAL_MINOR, 0, 0, 0)


class TestConstraints:
    """The last line of defence: what the code never does, the database would not take."""

    @pytest.mark.parametrize(
        ("amounts", "constraint"),
        [
            ("authorised_minor = 4401", "payments_authorised_check"),
            ("captured_minor = 1", "payments_held_check"),
            ("authorised_minor = 4400, captured_minor = 4400, voided_minor = 1", "payments_held_check"),
            ("authorised_minor = 4400, captured_minor = 100, refunded_minor = 101", "payments_refunded_check"),
        ],
    )
    async def test_refuse_money_that_nobody_has(self, shop: Shop, amounts: str, constraint: str) -> None:
        await shop.place()

        with pytest.raises(asyncpg.CheckViolationError, match=constraint):
            await shop.fetch(f"UPDATE payments SET {amounts}")  # noqa: S608 - the rows above

    async def test_refuse_a_second_capture_for_a_parcel(self, shop: Shop) -> None:
        order_id: UUID = await shop.place()
        await shop.ship(order_id)

        with pytest.raises(asyncpg.UniqueViolationError, match="payment_commands_capture_idx"):
            await shop.fetch(
                "INSERT INTO payment_commands"
                " (id, order_id, shipment_id, kind, amount_minor, status, due_at, created_at)"
                " VALUES (gen_random_uuid(), $1, $2, 'capture', 1, 'pending', now(), now())",
                order_id,
                shipment_id(order_id, "leeds"),
            )

    async def test_refuse_an_open_order_without_a_deadline(self, shop: Shop) -> None:
        await shop.place()

        with pytest.raises(asyncpg.CheckViolationError, match="orders_deadline_check"):
            await shop.fetch("UPDATE orders SET deadline_at = NULL")
