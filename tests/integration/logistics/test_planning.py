"""Confirmed orders become shipments, cancellations stop them, and nothing happens twice."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from libs.common.errors import DomainError
from libs.common.events.logistics import ShipmentCancelled, ShipmentDispatched, ShipmentPlanned
from libs.common.events.orders import OrderConfirmed, OrderRecallRequested, OrderReconfirmed
from libs.common.events.shapes import Allocation, Destination, SkuQuantity
from services.logistics.domain.shipment import (
    Shipment,
    ShipmentAlreadyCancelled,
    ShipmentAlreadyDispatched,
    Status,
    Step,
    shipment_id,
)
from services.logistics.handlers.movements import Moved, Movement
from services.logistics.handlers.planning import NothingToShip
from tests.integration.logistics.world import (
    LONDON,
    ROTTERDAM,
    SYDNEY,
    World,
    a_cancellation,
    a_confirmation,
    planned,
)
from tests.support.eventually import eventually
from tests.support.kafka import envelope_of


class TestPlanning:
    async def test_makes_one_shipment_for_each_warehouse(self, world: World) -> None:
        order = a_confirmation(
            ("LON", "CRUNCHY-ARMCHAIR", 2),
            ("RTM", "OMINOUS-MIRROR", 1),
            ("LON", "CRUNCHY-ARMCHAIR", 3),
        )

        await world.handle(LONDON, ROTTERDAM, order)

        events = {event.warehouse: event for event in planned(await world.published())}
        assert set(events) == {"LON", "RTM"}
        assert events["LON"].lines == [SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=5)]
        assert events["RTM"].shipment_id == shipment_id(order.order_id, "RTM")
        assert len(await world.shipments(order.order_id)) == 2

    async def test_takes_the_cheapest_that_keeps_the_promise(self, world: World) -> None:
        await world.handle(LONDON, a_confirmation())

        [event] = planned(await world.published())
        # 500 g from London to Glasgow: 295 p + 75 p a kg by post.
        assert (event.carrier, event.carrier_service, event.cost_minor) == ("example-post", "tracked", 333)
        # Tuesday morning plus three business days.
        assert event.estimated_delivery_at == datetime(2026, 6, 5, 18, tzinfo=UTC)

    async def test_sends_nobody_for_what_is_collected(self, world: World) -> None:
        order = a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 2), collect_at="LON")

        await world.handle(LONDON, order)

        [event] = planned(await world.published())
        assert (event.carrier, event.carrier_service, event.cost_minor) == ("collection", "in-store", 0)
        # Tuesday morning, and the store has until the end of Wednesday to set it aside.
        assert event.estimated_delivery_at == datetime(2026, 6, 3, 18, tzinfo=UTC)
        [shipment] = await world.shipments(order.order_id)
        assert shipment.destination == shipment.origin

    async def test_follows_what_is_collected_to_the_customers_hands(self, world: World) -> None:
        shipment_id = await world.plan(a_confirmation(collect_at="LON"))

        await world.dispatch(shipment_id)
        await world.move(Movement(shipment_id=shipment_id, step=Step.DELIVERED))

        assert (await world.shipment(shipment_id)).shipment.status is Status.DELIVERED
        [dispatched] = await world.published(ShipmentDispatched)
        assert isinstance(dispatched.event, ShipmentDispatched)
        shipment = await world.shipment(dispatched.event.shipment_id)
        assert (shipment.shipment.tracking_number or "").startswith("COLLECTION-")

    async def test_takes_the_fastest_for_a_far_order(self, world: World) -> None:
        await world.handle(LONDON, a_confirmation(destination=SYDNEY))

        [event] = planned(await world.published())
        assert event.carrier == "example-express"

    async def test_says_why(self, world: World) -> None:
        shipment = await world.plan()

        async with world.database.transaction() as transaction:
            driver = await transaction.driver()
            [[subject, record]] = await driver.fetch("SELECT subject, record::text FROM decisions")
        assert subject == f"shipment:{shipment}"
        assert '"rule":"cheapest-in-promise-far-fastest/1;rates/1"' in record
        assert all(carrier in record for carrier in ("example-post", "example-parcel", "example-express"))

    async def test_does_without_a_warehouse_that_is_not_known_yet(self, world: World) -> None:
        await world.handle(a_confirmation(("ATLANTIS", "OMINOUS-MIRROR", 1)))

        [event] = planned(await world.published())
        assert event.warehouse == "ATLANTIS"
        # The widest zone's rate, and no hurry: nothing says that the parcel goes far.
        assert event.carrier == "example-parcel"

    async def test_plans_even_when_no_carrier_goes_there(self, world: World) -> None:
        async with world.database.transaction() as transaction:
            await (await transaction.driver()).execute("UPDATE carriers SET is_active = false")

        await world.handle(LONDON, a_confirmation())

        [event] = planned(await world.published())
        assert (event.carrier, event.cost_minor) == ("unassigned", 0)

    async def test_keeps_the_time_of_a_replayed_order(self, world: World) -> None:
        order = a_confirmation(at=datetime(2010, 12, 1, 8, 26, tzinfo=UTC))

        await world.handle(LONDON, order)

        [event] = planned(await world.published())
        assert event.estimated_delivery_at == datetime(2010, 12, 6, 18, tzinfo=UTC)

    async def test_refuses_an_order_with_nothing_to_ship(self, world: World) -> None:
        with pytest.raises(NothingToShip):
            await world.handle(a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 0)))

    async def test_passes_the_cause_on(self, world: World) -> None:
        [cause] = await world.handle(a_confirmation())

        [envelope] = await world.published(ShipmentPlanned)
        assert envelope.causation_id == str(cause.id)


class TestReplay:
    async def test_of_the_same_event_has_no_effect(self, world: World) -> None:
        batch = await world.handle(a_confirmation())

        await world.handle(*batch)

        assert len(await world.published()) == 1

    async def test_of_the_confirmation_under_a_new_id_plans_nothing(self, world: World) -> None:
        order = a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 2))
        await world.handle(order)

        elsewhere = a_confirmation(("RTM", "CRUNCHY-ARMCHAIR", 2), order_id=order.order_id)
        await world.handle(order, elsewhere)

        assert len(await world.published()) == 1
        assert await world.count("decisions") == 1

    async def test_by_two_members_at_once_plans_once(self, world: World) -> None:
        orders = [a_confirmation() for _ in range(20)]

        # Envelopes of their own: the inbox does not help here, only the shipments' ids do.
        await asyncio.gather(*(world.handle(*orders) for _ in range(4)))

        assert len(planned(await world.published())) == 20
        assert await world.count("decisions") == 20

    async def test_of_an_old_warehouse_event_changes_nothing(self, world: World) -> None:
        await world.handle(envelope_of(LONDON, aggregate_version=2))
        moved = type(LONDON)(warehouse="LON", name="London", country="AU", latitude=-33.9, longitude=151.2)

        await world.handle(envelope_of(moved, aggregate_version=1))

        await world.handle(a_confirmation())
        assert planned(await world.published())[0].carrier == "example-post"


class TestCancellation:
    async def test_stops_all_shipments(self, world: World) -> None:
        order = a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 2), ("RTM", "OMINOUS-MIRROR", 1))
        await world.handle(order)

        await world.handle(a_cancellation(order.order_id))

        assert len(await world.published(ShipmentCancelled)) == 2
        assert {one.status for one in await world.shipments(order.order_id)} == {Status.CANCELLED}
        assert await world.versions(shipment_id(order.order_id, "RTM")) == [1, 2]

    async def test_stops_none_once_one_has_left(self, world: World) -> None:
        order = a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 2), ("RTM", "OMINOUS-MIRROR", 1))
        await world.handle(order)
        await world.dispatch(shipment_id(order.order_id, "LON"))

        await world.handle(a_cancellation(order.order_id))

        assert await world.published(ShipmentCancelled) == []
        assert {one.status for one in await world.shipments(order.order_id)} == {
            Status.PLANNED,
            Status.DISPATCHED,
        }

    async def test_in_the_batch_of_its_confirmation_works_too(self, world: World) -> None:
        order = a_confirmation()

        await world.handle(order, a_cancellation(order.order_id))

        types = [one.event.type for one in await world.published()]
        assert types == ["shipment.planned", "shipment.cancelled"]
        [shipment] = await world.shipments(order.order_id)
        assert (shipment.status, shipment.version) == (Status.CANCELLED, 2)

    async def test_that_comes_first_is_answered_when_the_order_is_planned(self, world: World) -> None:
        order = a_confirmation()

        await world.handle(a_cancellation(order.order_id))
        await world.handle(order)

        types = [one.event.type for one in await world.published()]
        assert types == ["shipment.planned", "shipment.cancelled"]
        [shipment] = await world.shipments(order.order_id)
        assert (shipment.status, shipment.reason) == (Status.CANCELLED, "changed-mind")

    async def test_asked_again_is_not_answered_twice(self, world: World) -> None:
        order = a_confirmation()
        await world.handle(order, a_cancellation(order.order_id))

        await world.handle(a_cancellation(order.order_id))

        assert len(await world.published(ShipmentCancelled)) == 1

    async def test_leaves_a_batch_of_other_orders_alone(self, world: World) -> None:
        orders = [a_confirmation() for _ in range(50)]

        await world.handle(*orders, a_cancellation(orders[7].order_id), a_cancellation(uuid4()))

        [cancelled] = await world.published(ShipmentCancelled)
        assert cancelled.event.key == str(orders[7].order_id)
        assert len(await world.shipments(status=Status.PLANNED)) == 49


class TestRaceOfDispatchAndCancellation:
    @pytest.mark.parametrize("is_cancellation_first", [True, False], ids=["cancel-starts", "dispatch-starts"])
    async def test_has_exactly_one_winner(self, world: World, *, is_cancellation_first: bool) -> None:
        for _ in range(15):
            order = a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 1), ("RTM", "CRUNCHY-ARMCHAIR", 1))
            await world.handle(order)

            outcome = await self._race(world, order.order_id, is_cancellation_first=is_cancellation_first)

            statuses = {one.warehouse: one.status for one in await world.shipments(order.order_id)}
            if isinstance(outcome, Moved):
                assert statuses == {"LON": Status.DISPATCHED, "RTM": Status.PLANNED}
            else:
                assert isinstance(outcome, ShipmentAlreadyCancelled)
                assert set(statuses.values()) == {Status.CANCELLED}

    async def test_makes_the_dispatch_wait_for_an_open_cancellation(self, world: World) -> None:
        order = a_confirmation()
        own_id = await world.plan(order)

        async with asyncio.TaskGroup() as group, world.database.transaction() as transaction:
            driver = await transaction.driver()
            await driver.execute("SELECT FROM shipments WHERE id = $1 FOR UPDATE", own_id)
            dispatch = group.create_task(world.dispatch(own_id))
            await driver.execute(
                "UPDATE shipments SET status = 'cancelled', cancelled_at = now(), reason = 'x',"
                " version = 2 WHERE id = $1",
                own_id,
            )
            await self._wait_for_a_waiter(world)

        assert isinstance(dispatch.result(), ShipmentAlreadyCancelled)
        assert await world.published(ShipmentDispatched) == []

    async def test_refuses_a_second_dispatch(self, world: World) -> None:
        own_id = await world.plan()

        outcomes = await asyncio.gather(world.dispatch(own_id), world.dispatch(own_id))

        assert sorted(type(one).__name__ for one in outcomes) == ["Moved", "ShipmentAlreadyDispatched"]
        assert ShipmentAlreadyDispatched.code == "shipment-already-dispatched"
        assert len(await world.published(ShipmentDispatched)) == 1

    @staticmethod
    async def _race(world: World, order_id: UUID, *, is_cancellation_first: bool) -> Moved | DomainError:
        async with asyncio.TaskGroup() as group:
            if is_cancellation_first:
                group.create_task(world.handle(a_cancellation(order_id)))
            dispatch = group.create_task(world.dispatch(shipment_id(order_id, "LON")))
            if not is_cancellation_first:
                group.create_task(world.handle(a_cancellation(order_id)))
        return dispatch.result()

    @staticmethod
    async def _wait_for_a_waiter(world: World) -> None:
        async def waiters(watcher: World = world) -> int:
            async with watcher.database.transaction() as transaction:
                driver = await transaction.driver()
                return int(
                    await driver.fetchval(
                        "SELECT count(*) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    )
                )

        await eventually(waiters)


class TestDestination:
    async def test_of_any_form_is_planned(self, world: World) -> None:
        countries = ["", "XX", "gb", "☃"]

        await world.handle(LONDON, *(a_confirmation(destination=Destination(country=country)) for country in countries))

        assert len(planned(await world.published())) == 4


class TestRecall:
    async def test_stops_all_shipments_and_another_confirmation_plans_them_anew(self, world: World) -> None:
        confirmation = a_confirmation(("LON", "LAMP", 2), ("RTM", "LAMP", 1))
        await world.handle(LONDON, ROTTERDAM, confirmation)

        await world.handle(a_recall(confirmation.order_id, before_plan=6))
        await world.handle(again(confirmation, 8, ("LON", "LAMP", 1)))

        found = {(one.warehouse, one.plan): (one.status, one.lines[0].quantity) for one in await shipments(world)}
        assert found == {
            ("LON", 0): (Status.CANCELLED, 2),
            ("RTM", 0): (Status.CANCELLED, 1),
            ("LON", 8): (Status.PLANNED, 1),
        }
        assert len(await world.published(ShipmentCancelled)) == 2

    async def test_comes_too_late_once_one_has_left(self, world: World) -> None:
        confirmation = a_confirmation()
        await world.dispatch(await world.plan(confirmation))

        await world.handle(a_recall(confirmation.order_id, before_plan=6))

        assert [one.status for one in await shipments(world)] == [Status.DISPATCHED]

    async def test_that_is_old_does_not_stop_what_was_planned_after_it(self, world: World) -> None:
        confirmation = a_confirmation()
        await world.handle(confirmation, a_recall(confirmation.order_id, before_plan=6), again(confirmation, 8))

        await world.handle(a_recall(confirmation.order_id, before_plan=6), again(confirmation, 8), confirmation)

        assert sorted((one.plan, one.status) for one in await shipments(world)) == [
            (0, Status.CANCELLED),
            (8, Status.PLANNED),
        ]

    async def test_and_a_cancellation_stop_what_is_planned_then(self, world: World) -> None:
        confirmation = a_confirmation()
        await world.handle(confirmation, a_recall(confirmation.order_id, before_plan=6), again(confirmation, 8))

        await world.handle(a_cancellation(confirmation.order_id))

        assert {one.status for one in await shipments(world)} == {Status.CANCELLED}
        assert len(await world.published(ShipmentCancelled)) == 2

    async def test_before_its_confirmation_stops_only_what_that_plans(self, world: World) -> None:
        confirmation = a_confirmation()

        await world.handle(a_recall(confirmation.order_id, before_plan=6))
        await world.handle(confirmation)
        await world.handle(again(confirmation, 8))

        assert sorted((one.plan, one.status) for one in await shipments(world)) == [
            (0, Status.CANCELLED),
            (8, Status.PLANNED),
        ]


def a_recall(order_id: UUID, *, before_plan: int) -> OrderRecallRequested:
    return OrderRecallRequested(order_id=order_id, edit_id=uuid4(), before_plan=before_plan)


def again(confirmation: OrderConfirmed, plan: int, *allocations: tuple[str, str, int]) -> OrderReconfirmed:
    held = [Allocation(warehouse=place, sku=sku, quantity=units) for place, sku, units in allocations]
    fields = structs.asdict(confirmation) | {"allocations": held or confirmation.allocations}
    return OrderReconfirmed(**fields, plan=plan)


async def shipments(world: World) -> Sequence[Shipment]:
    return await world.shipments()
