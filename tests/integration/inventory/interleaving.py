"""
The frame of the interleaving test: a shop that every group of rules acts on, and what must hold after every step.

A group of rules is a class of its own that extends `Frame`, in a module of its own or here; `test_any_interleaving`
puts the groups together. Hypothesis collects rules, invariants and initializers from all of them. What can be said of
the tables alone is a statement in `faults` that finds nothing: those of all groups are one query a step.

Rules are few, and look for what they go on with among what there is: of many, most would find nothing to act on.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from random import Random
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from libs.common.events.base import Envelope
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsPicked,
    GoodsReceived,
    GoodsWrittenOff,
    TransferDispatched,
    TransferReceived,
    WarehouseReport,
)
from libs.common.events.orders import OrderApproved
from services.inventory.domain.queue import Allocator
from services.inventory.domain.stock import stock_of
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
ORDER_FATES = ("called off", "leaves", "leaves from elsewhere", "comes back")
baskets = st.dictionaries(skus, units, min_size=1)


class Frame(RuleBasedStateMachine):
    """
    The shop, what has been said to it so far, and the invariants.

    `booked` are the reports that were not refused, `asked` what each order wants, by its first approval, in units by
    SKU; `composition` is what the only bundle is made of.
    """

    database_url: str
    # What is wrong, by its name; $1 is the time.
    faults: ClassVar[Mapping[str, str]] = {
        "on hand is not the sum of the ledger": """
            SELECT levels.sku, levels.warehouse, on_hand, sum(delta_on_hand) FROM stock_levels AS levels
            LEFT JOIN stock_movements AS ledger USING (sku, warehouse)
            GROUP BY levels.sku, levels.warehouse HAVING on_hand <> coalesce(sum(delta_on_hand), 0)
        """,
        "reserved is not what is held": """
            SELECT sku, warehouse, reserved, units FROM stock_levels LEFT JOIN (
                SELECT sku, warehouse, sum(units) AS units FROM (
                    SELECT sku, warehouse, quantity - committed_quantity AS units FROM reservation_lines
                    UNION ALL SELECT sku, source, held FROM transfer_lines
                ) AS held GROUP BY sku, warehouse
            ) AS holds USING (sku, warehouse) WHERE reserved <> coalesce(units, 0)
        """,
        # From the ledger alone, so that the order in which reports came cannot matter.
        "a count does not hold": """
            SELECT level.sku, level.warehouse, level.on_hand - level.shortfall AS units,
                   counts.counted + coalesce(sum(later.delta_on_hand), 0) AS counted_and_since
            FROM stock_levels AS level
            JOIN stock_movements AS counts ON counts.event_id = level.counted_by AND counts.kind = 'count'
                AND counts.counted IS NOT NULL
            LEFT JOIN stock_movements AS later ON (later.sku, later.warehouse) = (level.sku, level.warehouse)
                AND later.occurred_at > level.counted_at AND later.kind <> 'shortfall'
            GROUP BY level.sku, level.warehouse, counts.counted
            HAVING level.on_hand - level.shortfall <> counts.counted + coalesce(sum(later.delta_on_hand), 0)
        """,
        # Whichever count was reported last: what was held back and not approved does not count.
        "a later count was overtaken by an earlier one": """
            SELECT level.sku, level.warehouse, level.counted_at, counts.occurred_at
            FROM stock_levels AS level
            JOIN stock_movements AS counts ON (counts.sku, counts.warehouse) = (level.sku, level.warehouse)
                AND counts.kind = 'count' AND counts.counted IS NOT NULL
            LEFT JOIN held_counts AS held ON held.event_id = counts.event_id
            WHERE coalesce(held.status, 'approved') = 'approved'
                AND (counts.occurred_at, counts.event_id) > (level.counted_at, level.counted_by)
        """,
        "a waiting order holds something": """
            SELECT order_id FROM reservations JOIN reservation_lines USING (order_id)
            WHERE status NOT IN ('held', 'partly-held') AND quantity > committed_quantity
        """,
        "who wants nothing waits": """
            SELECT reservations.order_id FROM reservations LEFT JOIN backorder_lines USING (order_id)
            GROUP BY reservations.order_id HAVING (status IN ('waiting', 'partly-held')) <> (count(sku) > 0)
        """,
        "what left for a reservation is not in the ledger": """
            SELECT order_id, sku, warehouse, committed_quantity, shipped, taken
            FROM reservation_lines JOIN reservations USING (order_id) LEFT JOIN (
                SELECT order_id, sku, warehouse, -sum(delta_on_hand) AS shipped,
                       -sum(delta_on_hand) FILTER (WHERE reference = order_id::text) AS taken
                FROM stock_movements WHERE kind = 'ship' GROUP BY order_id, sku, warehouse
            ) AS ledger USING (order_id, sku, warehouse)
            WHERE committed_quantity NOT BETWEEN coalesce(taken, 0) AND coalesce(shipped, 0)
        """,
    }

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = FreshDatabase(self.database_url)
        self.reports: list[Envelope] = []
        self.order_events: list[Envelope] = []
        self.booked: dict[UUID, WarehouseReport] = {}
        self.asked: dict[UUID, Counter[str]] = {}
        self.composition: Mapping[str, int] = {}
        self._random = Random(1)  # noqa: S311 - not a secret
        self._versions: Counter[tuple[str, str]] = Counter()
        self._outbox_id = 0
        every = {name: fault for group in type(self).__mro__ for name, fault in vars(group).get("faults", {}).items()}
        found = " UNION ALL ".join(
            f"SELECT '{name}' AS fault, to_jsonb(found)::text AS found FROM ({fault}) AS found"  # noqa: S608 - ours
            for name, fault in every.items()
        )
        self._faults = f"SELECT * FROM ({found}) AS found WHERE $1::timestamptz IS NOT NULL"  # noqa: S608 - ours

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @initialize(stock=st.lists(st.tuples(skus, codes, st.integers(1, 20)), min_size=2, max_size=4))
    def open_the_shop(self, stock: list[tuple[str, str, int]]) -> None:
        self.run(empty(self.database))
        self.shop = self.run(Shop.open(self.database, WAREHOUSES))
        self.report(*(envelope(received(quantity, sku, at=at)) for sku, at, quantity in stock))

    def drawn_id(self) -> UUID:
        """Return an id that is the same in every run, and of no order with those before it."""
        return UUID(int=self._random.getrandbits(128), version=4)

    def report(self, *events: Envelope) -> None:
        said = [msgspec.structs.replace(one, id=self.drawn_id()) for one in events]
        self.reports.extend(said)
        if said:
            self._tell(*said)

    def _tell(self, *events: Envelope) -> None:
        self.run(self.shop.reports(*events))
        for one in events:
            if one.id not in self.shop.refusals and isinstance(one.event, WarehouseReport):
                self.booked[one.id] = one.event

    def said(self, *kinds: type[WarehouseReport]) -> list[Any]:
        """Return the reports of some kinds that were not refused."""
        return [report for report in self.booked.values() if isinstance(report, kinds)]

    def happen(self, *reported: Envelope) -> None:
        events = [msgspec.structs.replace(one, id=self.drawn_id()) for one in reported]
        self.order_events.extend(events)
        self.run(self.shop.orders(*events))
        for one in events:
            if isinstance(one.event, OrderApproved) and one.event.order_id not in self.asked:
                self.asked[one.event.order_id] = wanted = Counter[str]()
                for line in one.event.lines:
                    for sku, units in self.composition.items() if line.sku == "SET" else [(line.sku, 1)]:
                        wanted[sku] += units * line.quantity

    @rule(data=st.data())
    def something_is_said_again(self, data: st.DataObject) -> None:
        if self.reports:
            self._tell(*data.draw(st.lists(st.sampled_from(self.reports), min_size=1, max_size=3)))
        if self.order_events:
            self.run(self.shop.orders(data.draw(st.sampled_from(self.order_events))))

    @invariant()
    def nothing_is_wrong_with_the_books(self) -> None:
        assert [tuple(row) for row in self.run(self._find_faults())] == []

    @invariant()
    def every_report_is_in_the_ledger_once(self) -> None:
        statement = """
            SELECT event_id, sum(delta_on_hand) FILTER (WHERE kind NOT IN ('count', 'shortfall'))::bigint AS units
            FROM stock_movements GROUP BY event_id
        """
        units = {row["event_id"]: row["units"] for row in self.run(self.shop.rows(statement))}
        assert {event_id: units.get(event_id, "nothing") for event_id in self.booked} == {
            event_id: units_of(report) for event_id, report in self.booked.items()
        }

    @invariant()
    def orders_have_or_wait_for_what_they_asked_for(self) -> None:
        statement = """
            SELECT order_id, sku, sum(units) AS units, sum(committed) AS committed FROM (
                SELECT order_id, sku, quantity AS units, committed_quantity AS committed FROM reservation_lines
                UNION ALL SELECT order_id, sku, quantity, 0 FROM backorder_lines
            ) AS lines JOIN reservations USING (order_id)
            WHERE status IN ('held', 'partly-held', 'waiting', 'committed') AND expires_at IS NULL
            GROUP BY order_id, sku
        """
        for row in self.run(self.shop.rows(statement)):
            # More than was asked for may have left all the same.
            asked = max(self.asked[row["order_id"]][row["sku"]], row["committed"])
            assert row["units"] == asked, f"{row['order_id']} asked for {asked} of {row['sku']}, has {row['units']}"

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        assert self.run(self._servable()) == []

    @invariant()
    def versions_have_no_gaps(self) -> None:
        for one in self.run(self._newly_published()):
            key = one.event.topic.name, one.event.subject
            self._versions[key] += 1
            assert one.aggregate_version == self._versions[key], key

    async def _find_faults(self) -> list[Any]:
        return await self.shop.rows(self._faults, self.shop.clock.now())

    async def _newly_published(self) -> list[Envelope]:
        rows = await self.shop.rows("SELECT id FROM outbox_events ORDER BY id DESC LIMIT 1")
        published = await self.shop.published(after_id=self._outbox_id)
        self._outbox_id = rows[0]["id"] if rows else 0
        return published

    async def _servable(self) -> list[UUID]:
        """Return the waiting orders that the stock as it is could serve."""
        async with self.database.transaction() as transaction:
            driver = await transaction.driver()
            rows = await driver.fetch("SELECT order_id FROM reservations WHERE status IN ('waiting', 'partly-held')")
            if not rows:
                return []
            waiting = await PostgresReservations(transaction).load([row["order_id"] for row in rows])
            wanted = {sku for one in waiting for sku in one.skus}
            async with PostgresStock(transaction).locked(wanted) as items:
                verdicts = Allocator(stock_of(items), WAREHOUSES).serve(waiting)
            return [one.reservation.order_id for one in verdicts if one.choice.allocations is not None]

    def teardown(self) -> None:
        self.run(self.database.dispose())
        self.runner.close()


def units_of(report: WarehouseReport) -> int | None:
    """Return by how many units a report changes its level, by itself; a count by none that it says."""
    match report:
        case GoodsReceived(quantity=units) | TransferReceived(quantity=units) | GoodsAdjusted(delta=units):
            return units
        case GoodsPicked(quantity=units) | GoodsWrittenOff(quantity=units) | TransferDispatched(quantity=units):
            return -units
        case _:
            return None


class WarehouseRules(Frame):
    """Warehouses report, late and in the wrong order."""

    @rule(sku=skus, delta=st.integers(-6, 6), at=codes, when=times, is_correction=st.booleans())
    def goods_come_and_go(self, sku: str, delta: int, at: str, when: Any, is_correction: bool) -> None:  # noqa: FBT001
        if delta and is_correction:
            self.report(envelope(adjusted(delta, sku, at=at, when=when)))
        elif delta:
            change = received if delta > 0 else picked
            self.report(envelope(change(abs(delta), sku, at=at, when=when)))

    @rule(
        data=st.data(),
        quantity=st.integers(0, 9),
        units_moved=units,
        minutes_apart=st.integers(-20, 20),
        is_count_first=st.booleans(),
    )
    def somebody_counts(
        self,
        data: st.DataObject,
        quantity: int,
        units_moved: int,
        minutes_apart: int,
        is_count_first: bool,  # noqa: FBT001
    ) -> None:
        """Count, and hear of what happened before that, or after it, or at the same moment."""
        sku, at, when = data.draw(skus), data.draw(codes), data.draw(times)
        if known := self.said(WarehouseReport):
            other = data.draw(st.sampled_from(known))
            sku, at, when = data.draw(
                st.sampled_from(((sku, at, when), (other.sku, other.warehouse, other.occurred_at)))
            )
        counting = envelope(counted(quantity, sku, at=at, when=when))
        moved_at = when + timedelta(minutes=minutes_apart)
        change = received if data.draw(st.booleans()) else picked
        moving = envelope(change(units_moved, sku, at=at, when=moved_at))
        for one in (counting, moving) if is_count_first else (moving, counting):
            self.report(one)

    @rule(
        sku=skus,
        number=st.integers(1, 3),
        when=times,
        halves=st.lists(st.tuples(st.booleans(), units), min_size=1, max_size=3),
    )
    def goods_are_moved(self, sku: str, number: int, when: Any, halves: list[tuple[bool, int]]) -> None:
        """Report what left and what arrived, either of it first, or twice, or never."""
        for is_arrival, quantity in halves:
            common = {"sku": sku, "occurred_at": when, "transfer_id": UUID(int=number), "quantity": quantity}
            if is_arrival:
                self.report(envelope(TransferReceived(warehouse="MAN", **common)))
            else:
                self.report(envelope(TransferDispatched(warehouse="LON", destination="MAN", **common)))


class OrderRules(Frame):
    """Orders come, ship, are called off and come back."""

    @rule(
        baskets=st.lists(st.tuples(order_numbers, baskets), min_size=1, max_size=3),
        when=times,
        fates=st.lists(st.tuples(order_numbers, st.sampled_from(ORDER_FATES)), max_size=3),
        data=st.data(),
    )
    def orders_are_approved(
        self,
        baskets: list[tuple[int, dict[str, int]]],
        when: Any,
        fates: list[tuple[int, str]],
        data: st.DataObject,
    ) -> None:
        """Approve some, of which some go on; others are called off before they come."""
        self.happen(
            *(envelope(approved(*basket.items(), order_id=UUID(int=number)), at=when) for number, basket in baskets)
        )
        for number, fate in fates:
            self._meet_fate(UUID(int=number), fate, data)

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

    def _meet_fate(self, order_id: UUID, fate: str, data: st.DataObject) -> None:
        match fate:
            case "called off":
                self.happen(envelope(cancelled(order_id)))
            case "leaves":
                self._ship(order_id)
            case "leaves from elsewhere":
                parcel = data.draw(skus), data.draw(units)
                self.happen(envelope(dispatched(order_id, parcel, at=data.draw(codes))))
            case _:
                self.happen(envelope(returned(order_id, (data.draw(skus), 1), at=data.draw(codes))))

    def _ship(self, order_id: UUID) -> None:
        reservation = self.run(self.shop.reservation(order_id))
        parcels = defaultdict(list)
        for line in reservation.lines if reservation else ():
            if line.quantity > line.committed:
                parcels[line.warehouse].append((line.sku, line.quantity - line.committed))
        for warehouse, lines in parcels.items():
            self.happen(envelope(dispatched(order_id, *lines, at=warehouse)))
