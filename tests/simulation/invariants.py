"""What must hold: some of it after every commit, all of it once the world has come to rest."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from libs.common.events.base import EventReader
from libs.common.events.orders import OrderCancellationRequested
from libs.common.events.registry import EVENTS
from libs.common.events.topics import ORDERS_ORDER
from libs.common.outbox.writer import BUNDLE_TOPIC, records_of
from services.inventory.domain.reservations import LIVE, ReservationStatus
from services.inventory.domain.stock import MovementKind
from services.inventory.domain.transfers import Transfer
from services.logistics.domain.shipment import Status
from services.orders.domain.edits import EditStatus
from services.orders.domain.ledger import Account, balances
from services.orders.domain.order import EXCHANGE_CHANNEL, TERMINAL, OrderStatus
from services.orders.domain.returns import ReturnStatus
from services.orders.domain.state import OPEN_STEP, StageEntered, StepKind, StepStatus
from tests.simulation.books import booked_goods, due_of_orders, moved_goods
from tests.simulation.people import ORDERS_BY_RULE_MAX
from tests.simulation.store import Store, inbox_ids
from tests.simulation.world import Violated

if TYPE_CHECKING:
    from tests.simulation.shop import Shop

Writes = Mapping[tuple[str, Any], Any]

# A parcel may have arrived of an order that a person has ended since.
_WITH_PARCELS = frozenset({OrderStatus.SETTLED, OrderStatus.CANCELLED})


class Invariants:
    """The checks of one run."""

    def __init__(self, shop: "Shop") -> None:
        """Watch every commit of `shop`."""
        self._shop = shop
        self._reader = EventReader(EVENTS.values())
        self._ended: dict[UUID, OrderStatus] = {}
        self.violations: list[str] = []
        shop.inventory.on_commit.append(self._after_stock_commit)
        shop.orders.on_commit.append(self._after_order_commit)

    def _claim(self, holds: bool, name: str, detail: str) -> None:  # noqa: FBT001 - what is claimed
        if not holds:
            self.violations.append(f"{name}: {detail}")
            raise Violated(self.violations[-1])

    def _after_stock_commit(self, writes: Writes) -> None:
        """I1 no oversell, I2 conservation: of whatever level this commit touched."""
        store = self._shop.inventory
        touched = {key for table, key in writes if table == "stock_levels"}
        if not touched and not any(table in {"reservations", "transfers"} for table, _ in writes):
            return
        rows = list(store.table("reservations").values())
        transfers = store.table("transfers").values()
        for (sku, warehouse), level in store.table("stock_levels").items():
            name = f"{sku} in {warehouse}"
            self._note(0 <= level.reserved <= level.on_hand, "I1 oversold", f"{name}: {level}")
            held = sum(row.held(sku, warehouse) for row in rows) + _held_for_transfers(transfers, sku, warehouse)
            self._note(level.reserved == held, "I2 reserved", f"{name}: {level.reserved}, {held} are held")
            if (sku, warehouse) in touched:
                moved = sum(
                    one.delta_on_hand
                    for one in store.table("stock_movements").values()
                    if (one.sku, one.warehouse) == (sku, warehouse)
                )
                expected = self._shop.initial_units[sku, warehouse] + moved
                self._note(level.on_hand == expected, "I2 conserved", f"{name}: {level.on_hand}, ledger {expected}")

    def _after_order_commit(self, writes: Writes) -> None:
        """I3 no end is left again, I4 no more is captured than was held."""
        for (table, key), row in writes.items():
            if table != "orders":
                continue
            payment = row.state.payment
            is_sound = payment.held_minor >= 0 and 0 <= payment.refunded_minor <= payment.captured_minor
            self._note(is_sound, "I4 money", f"{key}: {payment}")
            ended = self._ended.get(key)
            self._note(ended in {None, row.state.status}, "I3 final", f"{key}: {ended} became {row.state.status}")
            if row.state.status in TERMINAL:
                self._ended[key] = row.state.status

    def _note(self, holds: bool, name: str, detail: str) -> None:  # noqa: FBT001
        # After a commit: raised there, it would look to the code like a fault of the database.
        if not holds:
            self.violations.append(f"{name}: {detail}")

    def check_all(self) -> None:
        """
        Check everything, at rest.

        :raises Violated: naming the first that does not hold.
        """
        if self.violations:
            raise Violated(self.violations[0])
        self._check_letters()
        self._check_orders()
        self._check_money()
        self._check_stock()
        self._check_effects()
        self._check_bus()

    def _check_orders(self) -> None:
        shop = self._shop
        rows = shop.orders.table("orders")
        missing = shop.accepted - rows.keys()
        self._claim(not missing, "I3 accepted", f"{missing} are not there")
        timers = dict(shop.orders.table("timers").keys())
        for order_id, row in rows.items():
            state = row.state
            told = f"{order_id} is {state.status}, {state.status_reason}"
            self._claim(state.status in TERMINAL, "I3 ended", told)
            self._claim(order_id not in timers, "I3 timers", f"{told}, and has {timers.get(order_id)}")
        for order_id, row in shop.inventory.table("reservations").items():
            holds = sum(quantity - committed for quantity, committed in row.lines.values())
            told = f"{order_id} is {rows[order_id].state.status if order_id in rows else 'a hold'}, {row}"
            self._claim(row.status not in LIVE and not holds and not row.wanted, "I8 reservation", told)
            if order_id in rows and rows[order_id].state.status is OrderStatus.SETTLED:
                self._claim(row.status is ReservationStatus.COMMITTED, "I8 committed", told)
        for edit in shop.orders.table("edits").values():
            self._claim(edit.status is not EditStatus.REQUESTED, "I3 edits", f"{edit} has no answer")
        self._check_edits()
        self._check_returns()
        self._check_reviews()

    def _check_edits(self) -> None:
        """I5: the lines of an order are those of its last edit that was applied."""
        shop = self._shop
        applied = [one for one in shop.orders.table("edits").values() if one.status is EditStatus.APPLIED]
        latest = {one.order_id: one for one in sorted(applied, key=lambda one: one.id)}
        for order_id, edit in latest.items():
            row = shop.orders.table("orders")[order_id]
            lines = {line.line: (line.sku, line.quantity) for line in row.order.lines}
            wanted = {line.line: (line.sku, line.quantity) for line in edit.lines_after}
            self._claim(lines == wanted, "I5 edit", f"{order_id} has {lines}, its edit says {wanted}")

    def _check_returns(self) -> None:
        """Whoever sent goods back has their price back, once."""
        shop = self._shop
        for one in shop.orders.table("returns").values():
            self._claim(one.status is ReturnStatus.CLOSED, "I4 return", f"{one}")
            steps = [row.step for row in shop.orders.table("payment_commands").values() if row.step.return_id == one.id]
            paid = sum(step.amount_minor for step in steps if step.status is StepStatus.SUCCEEDED)
            is_exchange = shop.orders.table("orders")[one.order_id].order.facts.channel == EXCHANGE_CHANNEL
            # What an exchange was sent for goes back beside what it was paid with.
            is_all = paid == one.refund_minor or (is_exchange and 0 < paid < one.refund_minor)
            self._claim(is_all, "I4 return", f"{one}: {paid} went back")
            if one.refund_minor:
                shop.world.meet("return refunded")

    def _check_reviews(self) -> None:
        """No customer gets more orders past the rules than they let pass, however many are placed at once."""
        shop = self._shop
        if not shop.people.habits.reviews:
            return
        reviewed = shop.orders.table("reviews")
        passed = Counter(
            row.order.facts.customer_id
            for order_id, row in shop.orders.table("orders").items()
            if order_id not in reviewed
            and row.order.facts.origin is None
            and row.state.status_reason != "review-refused"
        )
        most = max(passed.values(), default=0)
        self._claim(most <= ORDERS_BY_RULE_MAX, "I3 review", f"{passed} passed without a person")
        for order_id in reviewed:
            seen = [entry.stage for entry, _ in self._timeline(order_id)]
            self._claim(OrderStatus.HELD in seen, "I3 review", f"{order_id} waits for nobody: {seen}")

    def _asked_to_stop(self) -> set[UUID]:
        """Return the orders of which logistics was asked to stop all parcels."""
        headers = (dict(record.headers) for record in self._shop.bus.records(ORDERS_ORDER.name))
        return {
            UUID(one["ce_subject"].decode())
            for one in headers
            if one["ce_type"].decode() == OrderCancellationRequested.type
        }

    def _timeline(self, order_id: UUID) -> list[tuple[StageEntered, UUID | None]]:
        rows = self._shop.orders.table("timeline")
        return [entry for (owner, _), entry in sorted(rows.items()) if owner == order_id]

    def _check_money(self) -> None:
        shop = self._shop
        due = due_of_orders(shop)
        for order_id, row in shop.orders.table("orders").items():
            state, payment = row.state, row.state.payment
            ours = [one for one in shop.provider.charges.values() if one.order_id == order_id]
            theirs = tuple(
                sum(getattr(one, name) for one in ours) for name in ("authorised", "captured", "refunded", "voided")
            )
            known = (payment.authorised_minor, payment.captured_minor, payment.refunded_minor, payment.voided_minor)
            self._claim(theirs == known, "I4 books", f"{order_id}: the provider says {theirs}, we say {known}")
            steps = [one.step for one in shop.orders.table("payment_commands").values() if one.order_id == order_id]
            asked = sum(one.kind is StepKind.AUTHORISE and one.status is StepStatus.SUCCEEDED for one in steps)
            self._claim(len(ours) == asked, "I4 authorised once", f"{order_id}: {ours}, {steps}")
            kept = payment.captured_minor - payment.refunded_minor
            told = f"{order_id} is {state.status}: kept {kept}, not {due[order_id]}, {steps}"
            self._claim(kept == due[order_id], "I4 captured once", told)
            self._claim(payment.held_minor == 0, "I4 let go", f"{order_id}: {payment}")
            transfers = [one for owner, one in shop.orders.table("ledger").values() if owner == order_id]
            sums = balances(transfers)
            self._claim(sum(sums.values()) == 0, "I4 double entry", f"{order_id}: {sums}")
            self._claim(sums.get(Account.CLEARING, 0) == kept, "I4 ledger", f"{order_id}: {sums}, kept {kept}")
            self._claim(not any(one.status in OPEN_STEP for one in steps), "I4 steps", f"{order_id}: {steps}")
            captured = sum(
                one.amount_minor for one in steps if one.kind is StepKind.CAPTURE and one.status is StepStatus.SUCCEEDED
            )
            self._claim(captured == payment.captured_minor, "I4 captures", f"{order_id}: {steps}")

    def _check_stock(self) -> None:
        """I5: the ledger has what happened to goods, once each, whatever was delivered twice."""
        shop = self._shop
        for parcel in shop.logistics.table("shipments").values():
            status = shop.orders.table("orders")[parcel.order_id].state.status
            is_final = parcel.status not in {Status.PLANNED, Status.DISPATCHED}
            is_consistent = is_final and (parcel.status is not Status.DELIVERED or status in _WITH_PARCELS)
            self._claim(is_consistent, "I5 parcel", f"{parcel.order_id} is {status}, {parcel}")
            if status is OrderStatus.CANCELLED and parcel.dispatched_at is not None:
                ended_at = self._timeline(parcel.order_id)[-1][0].entered_at
                is_asked = parcel.dispatched_at <= ended_at or parcel.order_id in self._asked_to_stop()
                self._claim(is_asked, "I5 stopped", f"nobody stopped what left after the end: {parcel}")
        expected, booked = moved_goods(shop), booked_goods(shop)
        for key in expected.keys() | booked.keys():
            self._claim(booked[key] == expected[key], "I5 ledger", f"{key}: {booked[key]}, not {expected[key]}")
        self._check_transfers()

    def _check_transfers(self) -> None:
        """I5: what left one warehouse for another has arrived there, is on its way, or was settled."""
        shop = self._shop
        transfers = shop.inventory.table("transfers").values()
        told: Counter[tuple[str, str]] = Counter()
        balance: Counter[str] = Counter()
        for transfer in transfers:
            for key, line in transfer.lines.items():
                told["out", key.sku] += line.dispatched
                told["in", key.sku] += line.received
                balance[key.sku] += line.outstanding
                self._claim(not line.held or not transfer.is_closed, "I8 transfer", f"{transfer}")
        for way in told.keys() | shop.moved.keys():
            self._claim(told[way] == shop.moved[way], "I5 transfers", f"{way}: {told[way]}, not {shop.moved[way]}")
        for one in shop.inventory.table("stock_movements").values():
            if one.kind in {MovementKind.TRANSFER_IN, MovementKind.TRANSFER_OUT}:
                balance[one.sku] += one.delta_on_hand
        self._claim(not any(balance.values()), "I2 transfers", f"{balance}")

    def _check_letters(self) -> None:
        """First of all: what is set aside explains whatever is missing."""
        shop = self._shop
        letters = [
            dict(letter.headers)
            for topic in {place.topic for place in shop.bus.log}
            if topic.endswith(".dlq")
            for letter in shop.bus.records(topic)
        ]
        strange = [
            letter["dlq-error"]
            for letter in letters
            if UUID(letter["ce_id"].decode()) not in shop.bus.deadly or letter["dlq-reason"] != b"process-died"
        ]
        self._claim(not strange, "I5 dead letters", f"{strange}")
        buried = {UUID(letter["ce_id"].decode()) for letter in letters}
        self._claim(buried == shop.bus.deadly, "I11 deadly", f"{len(buried)} of {len(shop.bus.deadly)} set aside")
        if buried:
            shop.world.meet("what kills was set aside")

    def _check_effects(self) -> None:
        shop = self._shop
        for one in shop.bus.groups.values():
            self._claim(one.lag() == 0, "I7 lag", f"{sorted(one.topics)}: {one.lag()}")
        counted = shop.logistics.table("counted_events")
        self._claim(set(counted.values()) <= {1}, "I5 once", f"{[one for one in counted.items() if one[1] > 1]}")
        for group, (store, types) in shop.inboxes.items():
            seen = inbox_ids(store, group)
            read = {
                UUID(dict(record.headers)["ce_id"].decode())
                for topic in shop.bus.groups[group].topics
                for record in shop.bus.records(topic)
                if dict(record.headers)["ce_type"].decode() in types
            }
            self._claim(seen == read, "I5 inbox", f"{group}: {len(seen)} applied, {len(read)} on the bus")

    def _check_bus(self) -> None:
        """I6 versions in order and without gaps, I7 everything that was committed is on the bus and nothing else."""
        shop = self._shop
        for store in (shop.orders, shop.inventory, shop.logistics):
            self._claim(not store.table("outbox_events"), "I7 outbox", f"{store.service} keeps events back")
            written = self._written(store)
            found: set[UUID] = set()
            versions: dict[tuple[str, str], int] = {}
            for topic in sorted(set(written.values())):
                for record in shop.bus.records(topic):
                    headers = dict(record.headers)
                    event_id = UUID(headers["ce_id"].decode())
                    if event_id in found:
                        continue
                    found.add(event_id)
                    aggregate = (topic, headers["ce_subject"].decode())
                    version = int(headers["aggregate_version"])
                    is_next = version == versions.get(aggregate, 0) + 1
                    self._claim(is_next, "I6 order", f"{aggregate}: {version} after {versions.get(aggregate, 0)}")
                    versions[aggregate] = version
            self._claim(found == set(written), "I7 published", f"{store.service}: {len(found)} of {len(written)}")

    def _written(self, store: Store) -> dict[UUID, str]:
        """Return the topic of every event that was ever committed, whether it had a row of its own or was bundled."""
        written: dict[UUID, str] = {}
        for event_id, topic, key, headers, value, _ in store.published.values():
            records = records_of(topic, key, headers, value)
            found = {UUID(dict(record.headers)["ce_id"].decode()): record.topic for record in records}
            is_whole = next(iter(found)) == event_id and not found.keys() & written.keys()
            if topic == BUNDLE_TOPIC:
                self._shop.world.meet("events bundled")
                is_whole = is_whole and len(found) == int(headers)
            self._claim(is_whole, "I7 outbox", f"{store.service}: {event_id} is a row of {len(found)}")
            written |= found
        return written


def _held_for_transfers(transfers: Iterable[Transfer], sku: str, warehouse: str) -> int:
    return sum(
        line.held
        for transfer in transfers
        for key, line in transfer.lines.items()
        if key.sku == sku and line.source == warehouse
    )
