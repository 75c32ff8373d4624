"""Every invariant holds in a world that is right, and is broken by the fault it is there for."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bench.replay.databases import Databases
from bench.replay.order_invariants import order_verdicts
from bench.replay.stock_invariants import stock_verdicts
from tests.support.infrastructure import Infrastructure
from tests.support.small_world import small_world, undone

LEDGER = "Σ ledger = on hand, in every warehouse"
RESERVED = "Σ live reservations = reserved, in every warehouse"
BOUNDS = "0 ≤ reserved ≤ on hand"
HELD = "nothing is held for an order that is over"
SHIPPED = "every shipped unit left the ledger exactly once"
RESTOCKED = "every resold return entered the ledger exactly once"
WAITS = "every accepted order is over or waits with a deadline"
MONEY = "captured - refunded = what each order owes"
STILL_HELD = "no amount is held for an order that is over"
TWICE = "nothing was captured or refunded twice"
PROVIDER = "the payment provider moved what the orders say"


# One world for all tests: each undoes its fault by never committing it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(infrastructure: Infrastructure) -> AsyncIterator[Databases]:
    async with small_world(infrastructure) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def databases(world: Databases) -> AsyncIterator[Databases]:
    async with undone(world):
        yield world


async def broken(databases: Databases) -> set[str]:
    verdicts = [*await stock_verdicts(databases), *await order_verdicts(databases)]
    return {verdict.invariant for verdict in verdicts if not verdict.holds}


class TestVerdicts:
    async def test_hold_in_a_world_that_is_right(self, databases: Databases) -> None:
        verdicts = [*await stock_verdicts(databases), *await order_verdicts(databases)]

        assert {verdict.invariant for verdict in verdicts} == {
            LEDGER,
            RESERVED,
            BOUNDS,
            HELD,
            SHIPPED,
            RESTOCKED,
            WAITS,
            MONEY,
            STILL_HELD,
            TWICE,
            PROVIDER,
        }
        assert await broken(databases) == set()

    @pytest.mark.parametrize(
        ("database", "fault", "breaks"),
        [
            pytest.param("inventory", "UPDATE stock_levels SET on_hand = 8", {LEDGER}, id="a unit from nowhere"),
            pytest.param("inventory", "DELETE FROM stock_levels", {LEDGER}, id="a level that is gone"),
            pytest.param("inventory", "UPDATE stock_levels SET reserved = 1", {RESERVED}, id="held for nobody"),
            pytest.param(
                "inventory",
                "ALTER TABLE stock_levels DROP CONSTRAINT stock_levels_reserved_check;"
                " UPDATE stock_levels SET reserved = 8;"
                " INSERT INTO reservation_lines SELECT order_id, 'MIRROR', 'LON', 8, 0 FROM reservations"
                " WHERE status = 'waiting';"
                " UPDATE reservations SET status = 'held' WHERE status = 'waiting'",
                {BOUNDS},
                id="oversold",
            ),
            pytest.param(
                "inventory",
                "UPDATE stock_levels SET reserved = 1; UPDATE reservations SET status = 'held';"
                " UPDATE reservation_lines SET quantity = 5",
                {HELD},
                id="a reservation that outlives its order",
            ),
            pytest.param(
                "inventory",
                "INSERT INTO stock_movements"
                " (event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at, recorded_at, order_id)"
                " SELECT gen_random_uuid(), leg, kind, sku, warehouse, delta_on_hand, now(), now(), order_id"
                " FROM stock_movements WHERE kind = 'ship'; UPDATE stock_levels SET on_hand = 3",
                {SHIPPED},
                id="a parcel that left twice",
            ),
            pytest.param(
                "inventory",
                "INSERT INTO stock_movements"
                " (event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at, recorded_at, order_id)"
                " SELECT gen_random_uuid(), leg, kind, sku, warehouse, delta_on_hand, now(), now(), order_id"
                " FROM stock_movements WHERE kind = 'return'; UPDATE stock_levels SET on_hand = 8",
                {RESTOCKED},
                id="a return that was booked twice",
            ),
            pytest.param("orders", "DELETE FROM order_timers", {WAITS}, id="an order nobody wakes"),
            pytest.param(
                "orders",
                "UPDATE order_timers SET due_at = now() - interval '1 hour'",
                {WAITS},
                id="a deadline that passed unseen",
            ),
            pytest.param(
                "orders", "UPDATE payments SET refunded_minor = 0", {MONEY, PROVIDER}, id="a refund that was not made"
            ),
            pytest.param(
                "orders",
                "UPDATE payments SET captured_minor = 0, refunded_minor = 0",
                {MONEY, STILL_HELD, PROVIDER},
                id="goods that left unpaid",
            ),
            pytest.param(
                "orders", "UPDATE orders SET total_minor = total_minor + 1", {MONEY}, id="a total that is off"
            ),
            pytest.param(
                "orders", "DELETE FROM payments WHERE captured_minor = 0", {MONEY}, id="an order without a payment"
            ),
            pytest.param(
                "orders",
                "DROP INDEX payment_commands_capture_idx; INSERT INTO payment_commands (id, order_id, kind,"
                " amount_minor, status, due_at, created_at, resolved_at) SELECT gen_random_uuid(), order_id, kind,"
                " amount_minor, status, due_at, created_at, resolved_at FROM payment_commands",
                {TWICE},
                id="captured twice",
            ),
            pytest.param(
                "orders",
                "INSERT INTO sandbox.sandbox_charges (reference, token, currency, authorised_minor)"
                " VALUES ('charge-2', 'tok_ok', 'GBP', 255)",
                {PROVIDER},
                id="an amount held at the provider that no order knows",
            ),
        ],
    )
    async def test_are_broken_by_the_fault_they_are_there_for(
        self, databases: Databases, database: str, fault: str, breaks: set[str]
    ) -> None:
        await databases[database].execute(fault)

        assert await broken(databases) == breaks

    async def test_count_a_capture_that_is_under_way_as_done(self, databases: Databases) -> None:
        await databases["orders"].execute(
            "INSERT INTO order_timers SELECT id, 'delivery', now() + interval '1 day' FROM orders"
            " WHERE status = 'settled';"
            " INSERT INTO payment_commands (id, order_id, kind, amount_minor, status, due_at, created_at)"
            " SELECT gen_random_uuid(), id, 'refund', 255, 'waiting', now(), now() FROM orders"
            " WHERE status = 'settled';"
            " UPDATE payment_commands SET status = 'pending', resolved_at = NULL WHERE kind = 'capture';"
            " UPDATE payments SET captured_minor = 0, refunded_minor = 0;"
            " UPDATE sandbox.sandbox_charges SET captured_minor = 0, refunded_minor = 0;"
            " UPDATE orders SET status = 'shipped', deadline_at = now() + interval '1 day' WHERE status = 'settled'"
        )

        assert await broken(databases) == set()

    async def test_know_every_charge_of_an_order_that_became_dearer(self, databases: Databases) -> None:
        orders = databases["orders"]
        await orders.execute(
            "INSERT INTO sandbox.sandbox_charges (reference, token, currency, authorised_minor, voided_minor)"
            " VALUES ('charge-2', 'tok_ok', 'GBP', 255, 255);"
            " INSERT INTO payment_commands"
            " (id, order_id, kind, amount_minor, status, reference, due_at, created_at, resolved_at)"
            " SELECT gen_random_uuid(), id, 'authorise', 255, 'succeeded', 'charge-2', now(), now(), now()"
            " FROM orders WHERE status = 'settled';"
            " UPDATE payments SET total_minor = 1275, authorised_minor = 1275, voided_minor = 255"
            " WHERE captured_minor > 0"
        )
        assert await broken(databases) == set()

        await orders.execute("UPDATE sandbox.sandbox_charges SET voided_minor = 0 WHERE reference = 'charge-2'")
        assert await broken(databases) == {PROVIDER}

    async def test_count_the_parcels_that_had_left_when_somebody_ended_the_order(self, databases: Databases) -> None:
        orders = databases["orders"]
        await orders.execute("UPDATE orders SET status = 'cancelled' WHERE status = 'settled'")
        assert SHIPPED in await broken(databases)

        await orders.execute(
            "INSERT INTO order_allocations (order_id, warehouses, allocations) SELECT id, '{LON}',"
            """ '[{"sku": "MIRROR", "warehouse": "LON", "quantity": 4}]' FROM orders WHERE status = 'cancelled';"""
            " INSERT INTO order_shipments (order_id, shipment_id, warehouse, status)"
            " SELECT id, gen_random_uuid(), 'LON', 'dispatched' FROM orders WHERE status = 'cancelled'"
        )
        assert SHIPPED not in await broken(databases)
