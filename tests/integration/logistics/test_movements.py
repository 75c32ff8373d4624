"""What happens to a parcel on its way, in the database and on the bus."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from libs.common.events.logistics import (
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentEtaChanged,
    ShipmentFailed,
    ShipmentScanned,
)
from services.logistics.domain.geography import Coordinates
from services.logistics.domain.shipment import (
    ImplausibleTime,
    ShipmentNotDispatched,
    Status,
    Step,
)
from services.logistics.handlers.movements import Moved, Movement, NotReportable, ShipmentNotFound
from tests.integration.logistics.world import LONDON, MORNING, World, a_confirmation

NOON = MORNING.replace(hour=12, minute=0)
DAY = timedelta(days=1)


def a_scan(shipment_id: UUID, at: datetime, place: str = "Carlisle", point: Coordinates | None = None) -> Movement:
    return Movement(shipment_id=shipment_id, step=Step.SCANNED, at=at, place=place, coordinates=point)


@pytest.fixture
async def shipment_id(world: World) -> UUID:
    """Plan a shipment from London to Glasgow, on a Tuesday, expected on Friday at 18:00."""
    await world.handle(LONDON)
    shipment_id = await world.plan()
    world.clock.advance(10 * DAY)
    return shipment_id


class TestMovements:
    async def test_publish_the_whole_way_with_versions_without_gaps(self, world: World, shipment_id: UUID) -> None:
        await world.dispatch(shipment_id, NOON)
        await world.move(a_scan(shipment_id, NOON + DAY))
        await world.move(Movement(shipment_id=shipment_id, step=Step.DELIVERED, at=NOON + 2 * DAY))

        published = [one.event for one in await world.published()]
        assert [event.type for event in published] == [
            "shipment.planned",
            "shipment.dispatched",
            "shipment.scanned",
            "shipment.delivered",
        ]
        assert await world.versions(shipment_id) == [1, 2, 3, 4]
        tracked = await world.shipment(shipment_id)
        assert (tracked.shipment.status, tracked.shipment.version) == (Status.DELIVERED, 4)
        assert [scan.place for scan in tracked.scans] == ["Carlisle"]

    async def test_carry_the_lines_when_the_parcel_leaves(self, world: World, shipment_id: UUID) -> None:
        await world.dispatch(shipment_id, NOON)

        [envelope] = await world.published(ShipmentDispatched)
        assert isinstance(envelope.event, ShipmentDispatched)
        assert [(line.sku, line.quantity) for line in envelope.event.lines] == [("CRUNCHY-ARMCHAIR", 2)]
        # The number leads to a person: it is told to who asks, and not to the bus.
        assert envelope.event.tracking_number == ""
        kept = await world.shipment(envelope.event.shipment_id)
        assert (kept.shipment.tracking_number or "").startswith("EXAMPLE-POST-")

    async def test_in_one_batch_are_applied_in_order(self, world: World, shipment_id: UUID) -> None:
        outcomes = await world.move(
            Movement(shipment_id=shipment_id, step=Step.DELIVERED, at=NOON),
            Movement(shipment_id=shipment_id, step=Step.DISPATCHED, at=NOON),
            a_scan(shipment_id, NOON + DAY),
            Movement(shipment_id=uuid4(), step=Step.DELIVERED, at=NOON),
            Movement(shipment_id=shipment_id, step=Step.FAILED, at=NOON + DAY, reason="flood"),
        )

        assert [type(one) for one in outcomes] == [ShipmentNotDispatched, Moved, Moved, ShipmentNotFound, Moved]
        [failed] = await world.published(ShipmentFailed)
        assert failed.aggregate_version == 4

    async def test_reported_again_change_nothing(self, world: World, shipment_id: UUID) -> None:
        reports = [
            Movement(shipment_id=shipment_id, step=Step.DISPATCHED, at=NOON),
            a_scan(shipment_id, NOON + DAY),
            a_scan(shipment_id, NOON + DAY),
            Movement(shipment_id=shipment_id, step=Step.DELIVERED, at=NOON + 2 * DAY),
        ]
        await world.move(*reports)

        again = await world.move(*reports)

        assert all(isinstance(one, Moved) and one.is_repeated for one in again)
        assert len(await world.published()) == 4
        assert len((await world.shipment(shipment_id)).scans) == 1

    async def test_at_implausible_times_are_refused_by_name(
        self, world: World, shipment_id: UUID, subtests: pytest.Subtests
    ) -> None:
        implausible = {
            "the year 1": datetime(1, 1, 1, tzinfo=UTC),
            "before the order": MORNING - 2 * DAY,
            "in the future": MORNING + 12 * DAY,
        }
        for name, at in implausible.items():
            with subtests.test(name):
                refusal = await world.dispatch(shipment_id, at)

                assert isinstance(refusal, ImplausibleTime)
                assert refusal.field == "dispatched_at"
        assert (await world.shipment(shipment_id)).shipment.status is Status.PLANNED

    async def test_before_the_parcel_left_are_refused(self, world: World, shipment_id: UUID) -> None:
        await world.dispatch(shipment_id, NOON)

        outcomes = await world.move(
            a_scan(shipment_id, NOON - timedelta(hours=1)),
            Movement(shipment_id=shipment_id, step=Step.DELIVERED, at=NOON - timedelta(hours=1)),
        )

        assert [type(one) for one in outcomes] == [ImplausibleTime, ImplausibleTime]

    async def test_cannot_cancel(self, world: World, shipment_id: UUID) -> None:
        [refusal] = await world.move(Movement(shipment_id=shipment_id, step=Step.CANCELLED))

        assert isinstance(refusal, NotReportable)


class TestEstimate:
    async def test_moves_when_the_parcel_leaves_late(self, world: World, shipment_id: UUID) -> None:
        outcome = await world.dispatch(shipment_id, NOON + DAY)

        assert isinstance(outcome, Moved)
        assert outcome.estimate_changed_by == 3 * DAY
        [changed] = await world.published(ShipmentEtaChanged)
        assert isinstance(changed.event, ShipmentEtaChanged)
        assert changed.event.previous_estimated_delivery_at == datetime(2026, 6, 5, 18, tzinfo=UTC)
        assert changed.event.estimated_delivery_at == datetime(2026, 6, 8, 18, tzinfo=UTC)
        assert await world.versions(shipment_id) == [1, 2, 3]

    async def test_follows_the_parcel_on_the_map(self, world: World, shipment_id: UUID) -> None:
        await world.dispatch(shipment_id, NOON)

        await world.move(a_scan(shipment_id, NOON + DAY, point=Coordinates(55.0, -3.9)))

        # Nine tenths of the way on Wednesday: one of three days remains.
        shipment = (await world.shipment(shipment_id)).shipment
        assert shipment.estimated_delivery_at == datetime(2026, 6, 4, 18, tzinfo=UTC)

    async def test_is_not_moved_by_an_old_scan(self, world: World, shipment_id: UUID) -> None:
        await world.dispatch(shipment_id, NOON)
        await world.move(a_scan(shipment_id, NOON + DAY, point=Coordinates(55.0, -3.9)))

        await world.move(a_scan(shipment_id, NOON + timedelta(hours=1), "London"))

        assert len(await world.published(ShipmentScanned)) == 2
        assert len(await world.published(ShipmentEtaChanged)) == 1

    async def test_does_not_survive_a_scan_after_it(self, world: World, shipment_id: UUID) -> None:
        await world.dispatch(shipment_id, NOON)

        await world.move(a_scan(shipment_id, NOON + 4 * DAY))

        # Seen on Saturday, so on Monday at the earliest.
        shipment = (await world.shipment(shipment_id)).shipment
        assert shipment.estimated_delivery_at == datetime(2026, 6, 8, 18, tzinfo=UTC)


class TestConstraints:
    async def test_make_bad_states_unrepresentable(
        self, world: World, shipment_id: UUID, subtests: pytest.Subtests
    ) -> None:
        bad = {
            "an unknown state": "status = 'lost'",
            "delivered without a time": "status = 'delivered'",
            "planned and gone": "dispatched_at = now()",
            "cancelled without a reason": "status = 'cancelled', cancelled_at = now()",
            "nothing in it": "lines = '[]'",
            "paid to be sent": "cost_minor = -1",
            "arrived before it left": "status = 'delivered', tracking_number = 'x', dispatched_at = now(),"
            " delivered_at = now() - interval '1 hour'",
        }
        for name, change in bad.items():
            with subtests.test(name), pytest.raises(DBAPIError, match="violates check constraint"):
                async with world.database.engine.begin() as connection:
                    await connection.exec_driver_sql(
                        f"UPDATE shipments SET {change} WHERE id = '{shipment_id}'"  # noqa: S608
                    )


class TestDeliveries:
    async def test_are_published_once_with_their_business_time(self, world: World) -> None:
        at = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
        shipment_id = await world.plan(a_confirmation(at=at))
        await world.dispatch(shipment_id, at + DAY)

        await world.move(Movement(shipment_id=shipment_id, step=Step.DELIVERED, at=at + 2 * DAY))

        [delivered] = await world.published(ShipmentDelivered)
        assert isinstance(delivered.event, ShipmentDelivered)
        assert delivered.event.delivered_at == at + 2 * DAY
        assert delivered.time == world.clock.now()
