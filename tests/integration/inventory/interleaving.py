"""
The frame of the interleaving test: a shop that every group of rules acts on, and what must hold after every step.

A group of rules is a class of its own that extends `Frame`, in a module of its own or here; `test_any_interleaving`
puts the groups together. Hypothesis collects rules, invariants and initializers from all of them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from libs.common.events.base import Envelope
from libs.common.events.inventory import TransferDispatched, TransferReceived
from services.inventory.domain.queue import Allocator
from services.inventory.domain.stock import stock_of
from services.inventory.handlers.audit import Drift
from services.inventory.storage.reservations import PostgresReservations
from services.inventory.storage.stock import PostgresStock
from tests.integration.inventory.shop import Shop
from tests.support.postgres import FreshDatabase, empty
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LONDON,
    MANCHESTER,
    MIRROR,
    adjusted,
    approved,
    cancelled,
    counted,
    dispatched,
    envelope,
    minutes,
    picked,
    received,
    returned,
)

Result = TypeVar("Result")

SKUS = (ARMCHAIR, MIRROR)
WAREHOUSES = (LONDON, MANCHESTER)
skus = st.sampled_from(SKUS)
codes = st.sampled_from([warehouse.code for warehouse in WAREHOUSES])
units = st.integers(1, 6)
times = st.integers(0, 30).map(minutes)
order_numbers = st.integers(1, 8)
baskets = st.dictionaries(skus, units, min_size=1)


class Frame(RuleBasedStateMachine):
    """The shop, what has been said to it so far, and the invariants."""

    database_url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = FreshDatabase(self.database_url)
        self.reports: list[Envelope] = []
        self.order_events: list[Envelope] = []

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @initialize()
    def open_the_shop(self) -> None:
        self.run(empty(self.database))
        self.shop = self.run(Shop.open(self.database, WAREHOUSES))

    def report(self, *events: Envelope) -> None:
        self.reports.extend(events)
        self.run(self.shop.reports(*events))

    def happen(self, *events: Envelope) -> None:
        self.order_events.extend(events)
        self.run(self.shop.orders(*events))

    @rule(data=st.data())
    def something_is_said_again(self, data: st.DataObject) -> None:
        if self.reports:
            self.run(self.shop.reports(data.draw(st.sampled_from(self.reports))))
        if self.order_events:
            self.run(self.shop.orders(data.draw(st.sampled_from(self.order_events))))

    @invariant()
    def levels_are_what_ledger_and_reservations_say(self) -> None:
        assert self.run(self.shop.drift()) == Drift(0, 0)

    @invariant()
    def a_count_holds_whatever_came_when(self) -> None:
        """Tell it from the ledger alone, so that the order in which reports came cannot matter."""
        statement = """
            SELECT level.sku, level.warehouse, level.on_hand - level.shortfall AS units,
                   counts.counted + coalesce(sum(later.delta_on_hand), 0) AS counted_and_since
            FROM stock_levels AS level
            JOIN stock_movements AS counts ON counts.event_id = level.counted_by AND counts.kind = 'count'
                AND counts.counted IS NOT NULL
            LEFT JOIN stock_movements AS later ON (later.sku, later.warehouse) = (level.sku, level.warehouse)
                AND later.occurred_at > level.counted_at AND later.kind <> 'shortfall'
            GROUP BY level.sku, level.warehouse, counts.counted
        """
        for level in self.run(self.shop.rows(statement)):
            assert level["units"] == level["counted_and_since"], dict(level)

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        assert self.run(self._servable()) == []

    @invariant()
    def a_waiting_order_holds_nothing(self) -> None:
        statement = """
            SELECT 1 FROM reservations JOIN reservation_lines USING (order_id)
            WHERE status NOT IN ('held', 'partly-held') AND quantity > committed_quantity
        """
        assert self.run(self.shop.rows(statement)) == []

    @invariant()
    def only_who_wants_something_waits(self) -> None:
        statement = """
            SELECT 1 FROM reservations LEFT JOIN backorder_lines USING (order_id) GROUP BY reservations.order_id
            HAVING (status IN ('waiting', 'partly-held')) <> (count(sku) > 0)
        """
        assert self.run(self.shop.rows(statement)) == []

    @invariant()
    def versions_have_no_gaps(self) -> None:
        versions = defaultdict(list)
        for one in self.run(self.shop.published()):
            versions[one.event.topic.name, one.event.subject].append(one.aggregate_version)
        for seen in versions.values():
            assert seen == list(range(1, len(seen) + 1))

    async def _servable(self) -> list[UUID]:
        """Return the waiting orders that the stock as it is could serve."""
        async with self.database.transaction() as transaction:
            driver = await transaction.driver()
            rows = await driver.fetch("SELECT order_id FROM reservations WHERE status IN ('waiting', 'partly-held')")
            waiting = await PostgresReservations(transaction).load([row["order_id"] for row in rows])
            wanted = {sku for one in waiting for sku in one.skus}
            async with PostgresStock(transaction).locked(wanted) as items:
                verdicts = Allocator(stock_of(items), WAREHOUSES).serve(waiting)
            return [one.reservation.order_id for one in verdicts if one.choice.allocations is not None]

    def teardown(self) -> None:
        self.run(self.database.dispose())
        self.runner.close()


class WarehouseRules(Frame):
    """Warehouses report, late and in the wrong order."""

    @rule(sku=skus, quantity=units, at=codes, when=times)
    def goods_arrive(self, sku: str, quantity: int, at: str, when: Any) -> None:
        self.report(envelope(received(quantity, sku, at=at, when=when)))

    @rule(sku=skus, quantity=units, at=codes, when=times, delta=st.sampled_from((-3, -1, 2)))
    def goods_leave_and_are_corrected(self, sku: str, quantity: int, at: str, when: Any, delta: int) -> None:
        self.report(envelope(picked(quantity, sku, at=at, when=when)), envelope(adjusted(delta, sku, at=at, when=when)))

    @rule(sku=skus, quantity=st.integers(0, 9), at=codes, when=times)
    def somebody_counts(self, sku: str, quantity: int, at: str, when: Any) -> None:
        self.report(envelope(counted(quantity, sku, at=at, when=when)))

    @rule(sku=skus, quantity=units, when=times, number=st.integers(1, 3), is_arrival=st.booleans())
    def goods_are_moved(self, sku: str, quantity: int, when: Any, number: int, is_arrival: bool) -> None:  # noqa: FBT001
        common = {"sku": sku, "occurred_at": when, "transfer_id": UUID(int=number), "quantity": quantity}
        if is_arrival:
            self.report(envelope(TransferReceived(warehouse="MAN", **common)))
        else:
            self.report(envelope(TransferDispatched(warehouse="LON", destination="MAN", **common)))


class OrderRules(Frame):
    """Orders come, ship, are called off and come back."""

    @rule(baskets=st.lists(st.tuples(order_numbers, baskets), min_size=1, max_size=3), when=times)
    def orders_are_approved(self, baskets: list[tuple[int, dict[str, int]]], when: Any) -> None:
        self.happen(
            *(envelope(approved(*basket.items(), order_id=UUID(int=number)), at=when) for number, basket in baskets)
        )

    @rule(
        number=order_numbers,
        basket=baskets,
        on_shortage=st.sampled_from(("partial", "refuse")),
        is_split_allowed=st.booleans(),
    )
    def an_order_of_another_kind_is_approved(
        self,
        number: int,
        basket: dict[str, int],
        on_shortage: str,
        is_split_allowed: bool,  # noqa: FBT001
    ) -> None:
        order = approved(
            *basket.items(),
            order_id=UUID(int=number),
            on_shortage=on_shortage,
            is_split_allowed=is_split_allowed,
        )
        self.happen(envelope(order, at=minutes(number)))

    @rule(number=order_numbers)
    def an_order_is_called_off(self, number: int) -> None:
        self.happen(envelope(cancelled(UUID(int=number))))

    @rule(number=order_numbers)
    def a_parcel_leaves(self, number: int) -> None:
        reservation = self.run(self.shop.reservation(UUID(int=number)))
        parcels = defaultdict(list)
        for line in reservation.lines if reservation else ():
            if line.quantity > line.committed:
                parcels[line.warehouse].append((line.sku, line.quantity - line.committed))
        for warehouse, lines in parcels.items():
            self.happen(envelope(dispatched(UUID(int=number), *lines, at=warehouse)))

    @rule(number=order_numbers, sku=skus, quantity=units, at=codes)
    def a_parcel_leaves_that_nobody_planned(self, number: int, sku: str, quantity: int, at: str) -> None:
        self.happen(envelope(dispatched(UUID(int=number), (sku, quantity), at=at)))

    @rule(number=order_numbers, sku=skus, at=codes)
    def a_parcel_comes_back(self, number: int, sku: str, at: str) -> None:
        self.happen(envelope(returned(UUID(int=number), (sku, 1), at=at)))
