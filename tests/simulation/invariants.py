"""What must hold: some of it after every commit, all of it once the world has come to rest."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from libs.common.events.base import EventReader
from libs.common.events.registry import EVENTS
from libs.common.outbox.writer import decode_headers
from services.inventory.domain.reservations import ReservationStatus
from services.orders.domain.ledger import balances
from services.orders.domain.order import TERMINAL, OrderStatus
from services.orders.domain.state import OPEN_STEP, StepKind, StepStatus
from tests.simulation.store import inbox_ids
from tests.simulation.world import Violated

if TYPE_CHECKING:
    from tests.simulation.shop import Shop

Writes = Mapping[tuple[str, Any], Any]


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
        if not touched and not any(table == "reservations" for table, _ in writes):
            return
        rows = list(store.table("reservations").values())
        for (sku, warehouse), level in store.table("stock_levels").items():
            name = f"{sku} in {warehouse}"
            self._note(0 <= level.reserved <= level.on_hand, "I1 oversold", f"{name}: {level}")
            held = sum(row.held(sku, warehouse) for row in rows)
            self._note(level.reserved == held, "I2 reserved", f"{name}: {level.reserved}, reservations hold {held}")
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
        for order_id in shop.accepted:
            self._claim(order_id in rows, "I3 accepted", f"{order_id} is not there")
            state = rows[order_id].state
            self._claim(state.status in TERMINAL, "I3 ended", f"{order_id} is {state.status}, {state.status_reason}")
            timers = [kind for owner, kind in shop.orders.table("timers") if owner == order_id]
            self._claim(not timers, "I3 timers", f"{order_id} is {state.status} and has {timers}")
        for order_id, row in shop.inventory.table("reservations").items():
            status = rows[order_id].state.status
            if status in {OrderStatus.CANCELLED, OrderStatus.REFUSED}:
                is_free = row.status in {ReservationStatus.RELEASED, ReservationStatus.REJECTED}
            else:
                is_free = row.status is ReservationStatus.COMMITTED
            holds = sum(quantity - committed for quantity, committed in row.lines.values())
            self._claim(is_free and not holds, "I8 reservation", f"{order_id} is {status}, {row}")

    def _check_money(self) -> None:
        shop = self._shop
        charges: Counter[UUID] = Counter(charge.order_id for charge in shop.provider.charges.values())
        for order_id, row in shop.orders.table("orders").items():
            state, payment = row.state, row.state.payment
            total = state.facts.total_minor
            ours = [one for one in shop.provider.charges.values() if one.order_id == order_id]
            self._claim(charges[order_id] <= 1, "I4 authorised once", f"{order_id}: {ours}")
            theirs = tuple(
                sum(getattr(one, name) for one in ours) for name in ("authorised", "captured", "refunded", "voided")
            )
            known = (payment.authorised_minor, payment.captured_minor, payment.refunded_minor, payment.voided_minor)
            self._claim(theirs == known, "I4 books", f"{order_id}: the provider says {theirs}, we say {known}")
            kept = payment.captured_minor - payment.refunded_minor
            due = total if state.status is OrderStatus.SETTLED else 0
            self._claim(kept == due, "I4 captured once", f"{order_id} is {state.status}: kept {kept} of {total}")
            self._claim(payment.held_minor == 0, "I4 let go", f"{order_id}: {payment}")
            transfers = [one for owner, one in shop.orders.table("ledger").values() if owner == order_id]
            sums = balances(transfers)
            self._claim(sum(sums.values()) == 0, "I4 double entry", f"{order_id}: {sums}")
            steps = [one.step for one in shop.orders.table("payment_commands").values() if one.order_id == order_id]
            self._claim(not any(one.status in OPEN_STEP for one in steps), "I4 steps", f"{order_id}: {steps}")
            captured = sum(
                one.amount_minor for one in steps if one.kind is StepKind.CAPTURE and one.status is StepStatus.SUCCEEDED
            )
            self._claim(captured == payment.captured_minor, "I4 captures", f"{order_id}: {steps}")

    def _check_stock(self) -> None:
        """I5: what left the shelves is what is in the parcels that left, whatever was delivered twice."""
        shop = self._shop
        shipped: Counter[tuple[str, str]] = Counter()
        for parcel in shop.logistics.table("parcels").values():
            if parcel.status in {"dispatched", "delivered"}:
                for sku, quantity in parcel.lines:
                    shipped[sku, parcel.warehouse] += quantity
            status = shop.orders.table("orders")[parcel.order_id].state.status
            is_consistent = (parcel.status == "delivered") == (status is OrderStatus.SETTLED)
            self._claim(is_consistent, "I5 parcel", f"{parcel.order_id} is {status}, {parcel}")
        for (sku, warehouse), level in shop.inventory.table("stock_levels").items():
            expected = shop.initial_units[sku, warehouse] + shop.received[sku, warehouse] - shipped[sku, warehouse]
            self._claim(
                level.on_hand == expected, "I5 shelves", f"{sku} in {warehouse}: {level.on_hand}, not {expected}"
            )

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
            written = {row[0]: row for row in store.published.values()}
            found: set[UUID] = set()
            versions: dict[tuple[str, str], int] = {}
            for topic in sorted({row[1] for row in written.values()}):
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
            for _, _, _, headers_bytes, _, _ in written.values():
                assert decode_headers(headers_bytes)


def captured_kinds(rows: Mapping[Any, Any]) -> Counter[StepKind]:
    """Return how many steps of each kind there are."""
    return Counter(row.step.kind for row in rows.values())
