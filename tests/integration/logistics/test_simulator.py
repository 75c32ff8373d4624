"""The simulator brings every parcel to its end, by the clock it is given and without waiting."""

from datetime import UTC, datetime, timedelta

from libs.common.events.logistics import (
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentFailed,
    ShipmentScanned,
)
from services.logistics.bootstrap.jobs import Simulator
from services.logistics.domain.shipment import Status
from tests.integration.logistics.world import (
    LONDON,
    SYDNEY,
    World,
    a_cancellation,
    a_confirmation,
)

PLACED_AT = datetime(2011, 3, 4, 15, 40, tzinfo=UTC)


async def exhaust(simulator: Simulator) -> int:
    """Work until there is nothing to do at this moment; return how much was done."""
    total = 0
    while done := await simulator.work():
        total += done
    return total


class TestSimulator:
    async def test_brings_every_parcel_to_its_door(self, world: World) -> None:
        orders = [a_confirmation(at=PLACED_AT + timedelta(minutes=number)) for number in range(250)]
        await world.handle(LONDON, *orders, a_confirmation(destination=SYDNEY, at=PLACED_AT))
        simulator = world.simulator(simulator_seconds_per_day=2.0)
        await exhaust(simulator)

        # A journey of two weeks takes 28 seconds.
        for _ in range(45):
            world.clock.advance(timedelta(seconds=1))
            await exhaust(simulator)

        assert len(await world.shipments(status=Status.DELIVERED)) == 251
        assert await world.count("simulations") == 0
        assert len(await world.published(ShipmentDelivered)) == 251
        assert 251 <= len(await world.published(ShipmentScanned)) <= 753

    async def test_keeps_to_the_business_time_of_the_order(self, world: World) -> None:
        shipment_id = await world.plan(a_confirmation(at=PLACED_AT))
        simulator = world.simulator(simulator_seconds_per_day=2.0)
        await exhaust(simulator)

        world.clock.advance(timedelta(minutes=2))
        await exhaust(simulator)

        tracked = await world.shipment(shipment_id)
        shipment = tracked.shipment
        assert shipment.status is Status.DELIVERED
        assert shipment.dispatched_at is not None
        assert shipment.delivered_at is not None
        times = [shipment.dispatched_at, *(scan.scanned_at for scan in tracked.scans), shipment.delivered_at]
        assert times == sorted(times)
        assert times[0] > PLACED_AT
        # A late parcel over two weekends is on its way for nearly three weeks; by the clock it would be years.
        assert times[-1] < PLACED_AT + timedelta(weeks=4)
        assert all(scan.place.startswith("simulated") for scan in tracked.scans)
        # Several steps that came due together are several events, in order.
        versions = await world.versions(shipment_id)
        assert versions == list(range(1, len(versions) + 1))

    async def test_does_nothing_before_a_step_is_due(self, world: World) -> None:
        await world.plan(a_confirmation(at=PLACED_AT))
        simulator = world.simulator(simulator_seconds_per_day=2.0)

        assert await exhaust(simulator) == 1
        assert await world.published(ShipmentDispatched) == []

    async def test_lets_a_cancelled_parcel_go(self, world: World) -> None:
        order = a_confirmation(at=PLACED_AT)
        await world.plan(order)
        simulator = world.simulator()
        await exhaust(simulator)
        await world.handle(a_cancellation(order.order_id))

        world.clock.advance(timedelta(minutes=2))
        await exhaust(simulator)

        [shipment] = await world.shipments(order.order_id)
        assert shipment.status is Status.CANCELLED
        assert await world.count("simulations") == 0

    async def test_fails_as_many_as_it_is_told(self, world: World) -> None:
        await world.plan(a_confirmation(at=PLACED_AT))
        simulator = world.simulator(simulator_failure_ratio=1.0)
        await exhaust(simulator)

        world.clock.advance(timedelta(minutes=2))
        await exhaust(simulator)

        [failed] = await world.published(ShipmentFailed)
        assert isinstance(failed.event, ShipmentFailed)
        assert failed.event.reason.startswith("simulated")

    async def test_runs_ahead_of_the_clock_for_an_order_of_today(self, world: World) -> None:
        shipment_id = await world.plan()
        simulator = world.simulator(simulator_seconds_per_day=2.0)
        await exhaust(simulator)

        world.clock.advance(timedelta(minutes=2))
        await exhaust(simulator)

        shipment = (await world.shipment(shipment_id)).shipment
        assert shipment.status is Status.DELIVERED
        assert shipment.delivered_at is not None
        assert shipment.delivered_at > world.clock.now()

    async def test_shares_its_work_with_others_like_it(self, world: World) -> None:
        await world.handle(LONDON, *(a_confirmation(at=PLACED_AT) for _ in range(30)))
        one, other = world.simulator(), world.simulator()
        await exhaust(one)
        world.clock.advance(timedelta(minutes=2))
        due = "SELECT FROM simulations ORDER BY next_step_at LIMIT 10 FOR UPDATE"

        async with world.database.transaction() as transaction:
            await (await transaction.driver()).execute(due)
            await exhaust(other)
            assert await world.count("simulations") == 10
        await exhaust(one)

        assert len(await world.published(ShipmentDelivered)) == 30
