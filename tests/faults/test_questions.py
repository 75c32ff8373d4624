"""What the checker asks of the databases about what clients were told: right in a world that is, and one fault each."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.replay.databases import Databases
from tests.faults.checker import acknowledged, at_rest, every_action_written_down
from tests.faults.history import Attempt, History
from tests.support.infrastructure import Infrastructure
from tests.support.small_world import small_world, undone

SETTLED, WAITING, RETURN = (f"00000000-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))
GOODS, ACTION = "00000000-0000-4000-8000-000000000004", "00000000-0000-7000-8000-000000000005"
TRANSFER = "00000000-0000-7000-8000-000000000006"
# Of what the clients were told: two orders, one of them cancelled and one edited, goods that came and were moved, a
# hold, a return, and an operator's action.
TOLD = {
    "orders": """
        UPDATE orders SET channel = 'faults', reference = 'order-' || right(id::text, 1);
        UPDATE orders SET status = 'cancelled', deadline_at = NULL WHERE status = 'backordered';
        UPDATE payments SET captured_minor = 0, refunded_minor = 0;
        INSERT INTO order_timeline (order_id, sequence, stage, entered_at, cause, detail)
        SELECT id, 1, status, now(), 'operator.retry', 'action-1' FROM orders WHERE status = 'settled';
        INSERT INTO order_actions (id, order_id, action, reason, principal, status_before, status_after, acted_at)
        SELECT '00000000-0000-7000-8000-000000000005', id, 'retry', 'action-1', 'ops', status, status, now()
        FROM orders WHERE status = 'settled';
        INSERT INTO order_edits (id, order_id, edited_at, principal, reason, lines_before, lines_after,
                                 total_before_minor, total_after_minor, is_address_changed, status)
        SELECT gen_random_uuid(), id, now(), 'storefront', 'edit-1', '[{"line": 1, "quantity": 1}]',
               '[{"line": 1, "quantity": 3}, {"line": 2, "quantity": 1}]', 255, 1020, false, 'applied'
        FROM orders WHERE status = 'settled'
    """,
    "inventory": """
        UPDATE stock_movements SET event_id = '00000000-0000-4000-8000-000000000004' WHERE kind = 'receipt';
        INSERT INTO transfers (transfer_id, status, created_at, changed_at)
        VALUES ('00000000-0000-7000-8000-000000000006', 'received', now(), now())
    """,
}
# What is kept for good cannot be changed without this.
UNGUARDED = "SET session_replication_role = replica"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def told(operation: str, key: str, answer: Mapping[str, Any], *, status: int = 201, **request: Any) -> Attempt:
    return Attempt(operation, key, 0, 1, status, "", request, answer)


@pytest.fixture(scope="module")
def history() -> History:
    found = History(Path("unwritten"))
    found.attempts = [
        told("order", "order-1", {"id": SETTLED}),
        told("order", "order-2", {"id": WAITING}),
        told("order", "order-3", {"code": "unknown-sku"}, status=422),
        told("cancel", "cancel-1", {"id": WAITING, "status": "cancelled"}),
        told("stock-events", "stock-1", {}, rows=[{"id": GOODS, "quantity": 10}]),
        told("hold", "hold-1", {}, reservation_id=WAITING),
        told("return", "return-1", {"id": RETURN}),
        told("receipt", "receipt-1", {"id": RETURN}),
        told("edit", "edit-1", {"id": SETTLED}),
        told("edit", "edit-2", {"code": "order-not-editable"}, status=409),
        told("transfer", "transfer-1", {"id": TRANSFER}),
        told("transfer-receive", "transfer-receive-1", {"id": TRANSFER}, status=200),
        told("action", "action-1", {"id": ACTION}),
        told("action", "action-2", {"code": "action-not-possible"}, status=409),
    ]
    return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(infrastructure: Infrastructure) -> AsyncIterator[Databases]:
    async with small_world(infrastructure) as world:
        for service, statements in TOLD.items():
            await world[service].execute(UNGUARDED)
            await world[service].execute(statements)
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def databases(world: Databases) -> AsyncIterator[Databases]:
    async with undone(world):
        yield world


async def broken(databases: Databases, history: History) -> set[tuple[str, str]]:
    judged = [*await at_rest(databases), *await acknowledged(databases, history)]
    found = {(one.invariant, one.verdict.invariant) for one in judged if not one.verdict.holds}
    written_down = await every_action_written_down(databases["orders"], history)
    return found if written_down.holds else found | {("I14", written_down.invariant)}


async def test_a_world_that_is_as_clients_were_told_is_found_right(databases: Databases, history: History) -> None:
    assert await broken(databases, history) == set()


ORDER_THERE = ("I10", "every acknowledged order is there")
WRITTEN_DOWN = ("I14", "what operators did is written down, once, with who and why")
EDIT_THERE = ("I10", "every acknowledged edit is there once, and answered")
TRANSFER_THERE = ("I10", "every acknowledged transfer is there, and where it was said to be")
COPIED_ACTION = (
    "INSERT INTO order_actions SELECT gen_random_uuid(), order_id, action, {reason}, principal, shipment_id,"
    " refund_minor, replacement_order_id, status_before, status_after, acted_at FROM order_actions"
)


@pytest.mark.parametrize(
    ("database", "fault", "breaks"),
    [
        pytest.param(
            "orders", "UPDATE payments SET captured_minor = 1 WHERE authorised_minor > 0",
            {("I4", "the ledger of money says the same")}, id="money that nobody booked",
        ),
        pytest.param(
            "inventory",
            "UPDATE reservations SET status = 'held', expires_at = now() - interval '1 minute'"
            " WHERE status = 'waiting'",
            {("I8", "no expired hold is still held")}, id="a hold that outlives its time",
        ),
        pytest.param(
            "orders", "UPDATE orders SET reference = 'another' WHERE status = 'settled'", {ORDER_THERE},
            id="an order that is lost",
        ),
        pytest.param(
            "orders", "UPDATE orders SET reference = 'order-1'", {ORDER_THERE, ("I9", "no order is there twice")},
            id="an order that is there twice",
        ),
        pytest.param(
            "orders", "UPDATE orders SET reference = 'order-3' WHERE status = 'settled'",
            {ORDER_THERE, ("I10", "no refused order is there")}, id="an order that was refused",
        ),
        pytest.param(
            "orders", "UPDATE orders SET status = 'settled' WHERE status = 'cancelled'",
            {("I10", "every order that was said to be cancelled is")}, id="a cancellation that is lost",
        ),
        pytest.param(
            "inventory", "DELETE FROM stock_movements WHERE kind = 'receipt'",
            {("I10", "every acknowledged report of goods is in the ledger once")}, id="goods that are lost",
        ),
        pytest.param(
            "inventory", "UPDATE stock_movements SET delta_on_hand = 20 WHERE kind = 'receipt'",
            {("I10", "every acknowledged report of goods is in the ledger once")}, id="goods that came twice",
        ),
        pytest.param(
            "inventory", "DELETE FROM reservations",
            {("I10", "every acknowledged hold is there")}, id="a hold that is lost",
        ),
        pytest.param(
            "orders", "DELETE FROM returns",
            {("I10", "every acknowledged return is there"), ("I10", "every acknowledged receipt of a return is there")},
            id="a return that is lost",
        ),
        pytest.param(
            "orders", "UPDATE returns SET status = 'requested', received_at = NULL, closed_at = NULL",
            {("I10", "every acknowledged receipt of a return is there")}, id="a receipt that is lost",
        ),
        pytest.param("orders", "DELETE FROM order_edits", {EDIT_THERE}, id="an edit that is lost"),
        pytest.param(
            "orders", "UPDATE order_edits SET reason = 'edit-2'", {EDIT_THERE}, id="an edit that was refused",
        ),
        pytest.param(
            "orders", "UPDATE order_edits SET status = 'requested'", {EDIT_THERE}, id="an edit nobody answered",
        ),
        pytest.param(
            "orders", "UPDATE order_lines SET quantity = quantity + 1 WHERE line = 2",
            {("I9", "an edited order is what its last edit made of it")}, id="an edit that was done twice",
        ),
        pytest.param("inventory", "DELETE FROM transfers", {TRANSFER_THERE}, id="a transfer that is lost"),
        pytest.param(
            "inventory", "UPDATE transfers SET status = 'dispatched'", {TRANSFER_THERE}, id="an arrival that is lost",
        ),
        pytest.param(
            "orders", "DELETE FROM order_actions", {WRITTEN_DOWN}, id="an action nobody wrote down",
        ),
        pytest.param(
            "orders", "UPDATE order_actions SET principal = ''", {WRITTEN_DOWN}, id="an action of nobody",
        ),
        pytest.param(
            "orders", "UPDATE order_actions SET reason = 'none'", {WRITTEN_DOWN},
            id="an action for nothing",
        ),
        pytest.param(
            "orders", COPIED_ACTION.format(reason="reason"), {WRITTEN_DOWN}, id="an action that was done twice",
        ),
        pytest.param(
            "orders", COPIED_ACTION.format(reason="'action-2'"), {WRITTEN_DOWN}, id="an action that was refused",
        ),
    ],
)  # fmt: skip
async def test_finds_every_fault_that_it_is_there_for(
    databases: Databases, history: History, database: str, fault: str, breaks: set[tuple[str, str]]
) -> None:
    await databases[database].execute(fault)

    assert await broken(databases, history) == breaks
