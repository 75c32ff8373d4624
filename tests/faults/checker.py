"""
Decides the invariants, from the databases, the topics and the clients' history alone.

It asks by SQL of its own and reads the topics from their start; nothing of the services' code takes part. It is for a
quiet system: whatever moves between two questions would look lost.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import asyncpg

from bench.replay.bus import TopicReading, consumer_lag, read_topics
from bench.replay.databases import Databases, open_databases
from bench.replay.event_invariants import event_verdicts
from bench.replay.order_invariants import order_verdicts
from bench.replay.settings import ReplaySettings
from bench.replay.stock_invariants import stock_verdicts
from bench.replay.topology import GROUPS
from bench.replay.verdict import Verdict
from libs.common.events.topics import (
    ALL_TOPICS,
    CATALOG_PRODUCT,
    LOGISTICS_SHIPMENT,
    ORDERS_ORDER,
    ORDERS_PAYMENT,
    ORDERS_RETURN,
)
from tests.faults.bus import INJECTED_HEADER, read_everything
from tests.faults.history import Attempt, History
from tests.faults.workload import CHANNEL, is_passing

# Which invariant of the design each question of the replay's checks belongs to.
_INVARIANTS = {
    "0 ≤ reserved ≤ on hand": "I1",
    "Σ ledger = on hand": "I2",
    "Σ live reservations = reserved": "I2",
    "every shipped unit": "I2",
    "every resold return": "I2",
    "every accepted order is over": "I3",
    "captured - refunded": "I4",
    "no amount is held": "I4",
    "nothing was captured or refunded twice": "I4",
    "the payment provider moved": "I4",
    "every event on the bus had its effect": "I5",
    "no effect twice": "I5",
    "no event lost: the versions": "I6",
    "no event lost: the outboxes": "I7",
    "no event lost: the last version": "I7",
    "nothing is held for an order that is over": "I8",
    "no event was set aside": "I11",
    "no consumer is behind": "I12",
}
READERS = {
    **{name: group.topics for name, group in GROUPS.items()},
    "orders.notifications": (ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN),
    "orders.prices": (CATALOG_PRODUCT,),
    "orders.insights": (ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN, LOGISTICS_SHIPMENT),
}

ORDERS = "SELECT id::text, reference, status FROM orders WHERE channel = $1"
RECEIVED = """
SELECT event_id::text, sum(delta_on_hand)::bigint AS units
FROM stock_movements WHERE kind = 'receipt' AND event_id = ANY($1::uuid[]) GROUP BY event_id
"""
RESERVATIONS = "SELECT order_id::text FROM reservations WHERE order_id = ANY($1::uuid[])"
OVERDUE_HOLDS = """
SELECT count(*) FROM reservations WHERE status = 'held' AND expires_at < now() - interval '15 seconds'
"""
HANDLED = """
SELECT event_id, processed_at FROM inbox_events WHERE consumer_group = $1 AND event_id = ANY($2::uuid[])
"""
# One action may have several consequences, such as an edit that is given up when its order is ended.
ACTIONS = """
SELECT id::text, reason, principal FROM order_actions
UNION ALL
SELECT '', detail, '' FROM order_timeline AS entry WHERE cause LIKE 'operator.%' AND NOT EXISTS (
    SELECT FROM order_actions AS kept
    WHERE kept.order_id = entry.order_id AND 'operator.' || kept.action = entry.cause
)
"""
EDITS = "SELECT reason, status FROM order_edits"
# Of an order that was edited, what it consists of and what the last edit that was done made of it.
EDITED = """
SELECT count(*) FROM (
    SELECT DISTINCT ON (order_id) order_id, lines_after FROM order_edits
    WHERE status = 'applied' AND lines_before <> lines_after ORDER BY order_id, id DESC
) AS last
JOIN (
    SELECT order_id, jsonb_object_agg(line, quantity) AS quantities
    FROM order_lines WHERE quantity > 0 GROUP BY order_id
) AS there USING (order_id)
WHERE quantities <> (
    SELECT jsonb_object_agg(part ->> 'line', (part ->> 'quantity')::bigint)
    FROM jsonb_array_elements(lines_after) AS part WHERE (part ->> 'quantity')::bigint > 0
)
"""
TRANSFERS = "SELECT transfer_id::text, status FROM transfers"
RETURNS = "SELECT id::text, status FROM returns"
UNBOOKED_MONEY = """
SELECT count(*) FROM payments
LEFT JOIN (
    SELECT order_id, sum(amount_minor) FILTER (WHERE fact = 'captured') AS captured,
           sum(amount_minor) FILTER (WHERE fact = 'refunded') AS refunded
    FROM ledger_transfers GROUP BY order_id
) AS booked USING (order_id)
WHERE captured_minor <> coalesce(captured, 0) OR refunded_minor <> coalesce(refunded, 0)
"""
OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE state LIKE 'idle in transaction%' AND state_change < now() - interval '5 seconds' AND datname <> 'postgres'
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """One question, and the invariant that it belongs to."""

    invariant: str
    verdict: Verdict


async def judge(
    settings: ReplaySettings, history: History, *, injected: Collection[str], secrets: Mapping[str, str], logs: Path
) -> list[Judged]:
    """
    Answer every question.

    `injected` names what was put on the bus and can have no effect; `secrets` are what no log may hold, by what they
    are.
    """
    servers, prefix = settings.quayside_kafka_bootstrap_servers, settings.quayside_kafka_topic_prefix
    readings = await read_topics(
        ALL_TOPICS,
        bootstrap_servers=servers,
        topic_prefix=prefix,
        is_left_out=lambda record: any(name == INJECTED_HEADER for name, _ in record.headers),
    )
    letters = await _dead_letters(servers, prefix)
    lag = await consumer_lag(READERS, bootstrap_servers=servers, topic_prefix=prefix)
    async with open_databases(settings) as databases:
        verdicts = [
            *await stock_verdicts(databases),
            *await order_verdicts(databases),
            *await event_verdicts(
                databases, readings=readings, lag=lag, dead_letters=len(set(letters) ^ set(injected))
            ),
        ]
        return [
            *(Judged(invariant_of(verdict), verdict) for verdict in verdicts),
            Judged("I6", in_order(readings)),
            Judged("I6", await none_overtaken(databases, readings)),
            *await at_rest(databases),
            *await acknowledged(databases, history),
            Judged("I9", one_answer_a_key(history)),
            Judged("I10", anticipated_answers(history)),
            Judged("I11", only_injected(letters, injected)),
            Judged("I13", told_no_secret(logs, secrets)),
            Judged("I14", await every_action_written_down(databases["orders"], history)),
        ]


async def at_rest(databases: Databases) -> Iterable[Judged]:
    """Count what there must be none of when all is quiet."""
    orders, inventory = databases["orders"], databases["inventory"]
    return [
        Judged("I4", await _none(orders, "the ledger of money says the same", UNBOOKED_MONEY)),
        Judged("I9", await _none(orders, "an edited order is what its last edit made of it", EDITED)),
        Judged("I8", await _none(inventory, "no expired hold is still held", OVERDUE_HOLDS)),
        Judged("I10", await _none(orders, "no connection sleeps inside a transaction", OPEN_TRANSACTIONS)),
    ]


def invariant_of(verdict: Verdict) -> str:
    """Return the invariant of the design that a question of the replay's checks belongs to."""
    [invariant] = {name for text, name in _INVARIANTS.items() if verdict.invariant.startswith(text)}
    return invariant


def in_order(readings: Mapping[str, TopicReading]) -> Verdict:
    """Tell whether versions first come in their order."""
    off = [f"{reading.topic.name}:{subject}" for reading in readings.values() for subject in reading.disorders]
    repeated = sum(reading.duplicates for reading in readings.values())
    return Verdict(
        "the versions of every aggregate first come in their order", not off, f"{len(off)} off, {repeated:,} repeated"
    )


async def none_overtaken(databases: Databases, readings: Mapping[str, TopicReading]) -> Verdict:
    """Tell whether groups handled versions in their order where partitions do not keep it: of parted aggregates."""
    off: list[str] = []
    parted = 0
    for name, topics in READERS.items():
        database = databases[name.partition(".")[0]]
        for reading in (readings[topic.name] for topic in topics):
            versions = {subject: reading.versions[subject] for subject in reading.parted()}
            parted += len(versions)
            event_ids = [event_id for events in versions.values() for event_id in events.values()]
            handled_at = {
                row["event_id"]: row["processed_at"] for row in await database.fetch(HANDLED, name, event_ids)
            }
            for subject, events in versions.items():
                moments = [handled_at[events[one]] for one in sorted(events) if events[one] in handled_at]
                if any(later < earlier for earlier, later in pairwise(moments)):
                    off.append(f"{name}:{subject}")
    return _verdict("no version overtakes another on the way to a group", off, f"{parted:,} in several partitions")


async def acknowledged(databases: Databases, history: History) -> Iterable[Judged]:
    """Compare what clients were told with what is there."""
    rows = await databases["orders"].fetch(ORDERS, CHANNEL)
    statuses = {row["id"]: row["status"] for row in rows}
    by_reference = Counter(row["reference"] for row in rows)
    ids = {row["reference"]: row["id"] for row in rows}
    orders = history.accepted("order")
    lost = [key for key, attempt in orders.items() if ids.get(key) != attempt.answer["id"]]
    twice = [key for key, count in by_reference.items() if count > 1]
    refused = [key for key in _refused(history, "order") if by_reference[key]]
    return [
        _judged("I10", "every acknowledged order is there", lost, f"{len(orders):,} acknowledged"),
        _judged("I9", "no order is there twice", twice, f"{len(by_reference):,} keys"),
        _judged("I10", "no refused order is there", refused, f"{len(_refused(history, 'order')):,} refused"),
        _judged(
            "I10",
            "every order that was said to be cancelled is",
            [
                attempt.key
                for attempt in history.accepted("cancel").values()
                if attempt.answer["status"] == "cancelled" and statuses.get(attempt.answer["id"]) != "cancelled"
            ],
            f"{len(history.accepted('cancel')):,} accepted",
        ),
        await _received(databases["inventory"], history),
        await _held(databases["inventory"], history),
        *await _returned(databases["orders"], history),
        await _edited(databases["orders"], history),
        await _moved(databases["inventory"], history),
    ]


def _refused(history: History, operation: str) -> list[str]:
    accepted = history.accepted(operation)
    last = {attempt.key: attempt for attempt in history.of(operation)}
    return [key for key, attempt in last.items() if key not in accepted and not is_passing(attempt)]


async def _received(inventory: asyncpg.Connection, history: History) -> Judged:
    sent = {row["id"]: row["quantity"] for attempt in history.of("stock-events") for row in attempt.request["rows"]}
    acknowledged = {
        row["id"] for attempt in history.accepted("stock-events").values() for row in attempt.request["rows"]
    }
    booked = {
        row["event_id"]: row["units"] for row in await inventory.fetch(RECEIVED, [UUID(event_id) for event_id in sent])
    }
    # What was never answered may or may not have happened, but never by half or twice.
    off = [
        event_id
        for event_id, quantity in sent.items()
        if booked.get(event_id, 0) not in ({quantity} if event_id in acknowledged else {quantity, 0})
    ]
    return _judged(
        "I10", "every acknowledged report of goods is in the ledger once", off, f"{len(acknowledged):,} acknowledged"
    )


async def _held(inventory: asyncpg.Connection, history: History) -> Judged:
    holds = {str(attempt.request["reservation_id"]) for attempt in history.accepted("hold").values()}
    there = {row["order_id"] for row in await inventory.fetch(RESERVATIONS, [UUID(hold) for hold in holds])}
    return _judged("I10", "every acknowledged hold is there", sorted(holds - there), f"{len(holds):,} acknowledged")


async def _returned(orders: asyncpg.Connection, history: History) -> Iterator[Judged]:
    statuses = {row["id"]: row["status"] for row in await orders.fetch(RETURNS)}
    announced = [attempt.answer["id"] for attempt in history.accepted("return").values()]
    received = [attempt.answer["id"] for attempt in history.accepted("receipt").values()]
    return iter(
        (
            _judged(
                "I10",
                "every acknowledged return is there",
                [one for one in announced if one not in statuses],
                f"{len(announced):,} acknowledged",
            ),
            _judged(
                "I10",
                "every acknowledged receipt of a return is there",
                [one for one in received if statuses.get(one) not in {"received", "closed"}],
                f"{len(received):,} acknowledged",
            ),
        )
    )


async def _edited(orders: asyncpg.Connection, history: History) -> Judged:
    kept = await orders.fetch(EDITS)
    by_reason = Counter(row["reason"] for row in kept)
    accepted = history.accepted("edit")
    off = [
        *(key for key in accepted if by_reason[key] != 1),
        *(key for key in _refused(history, "edit") if by_reason[key]),
        *(f"{row['reason']} (unanswered)" for row in kept if row["status"] == "requested"),
    ]
    done = sum(row["status"] == "applied" for row in kept)
    return _judged(
        "I10",
        "every acknowledged edit is there once, and answered",
        off,
        f"{len(accepted):,} acknowledged, {done:,} done",
    )


async def _moved(inventory: asyncpg.Connection, history: History) -> Judged:
    statuses = {row["transfer_id"]: row["status"] for row in await inventory.fetch(TRANSFERS)}
    proposed = {attempt.answer["id"] for attempt in history.accepted("transfer").values()}
    received = {attempt.answer["id"] for attempt in history.accepted("transfer-receive").values()}
    off = [
        *(one for one in proposed if one not in statuses),
        *(one for one in received if statuses.get(one) != "received"),
    ]
    return _judged(
        "I10", "every acknowledged transfer is there, and where it was said to be", off,
        f"{len(proposed):,} proposed, {len(received):,} received",
    )  # fmt: skip


async def every_action_written_down(orders: asyncpg.Connection, history: History) -> Verdict:
    """Tell whether what operators did is kept once, with who did it and why, and nothing that was not done."""
    kept = {row["id"]: row for row in await orders.fetch(ACTIONS)}
    reasons = Counter(row["reason"] for row in kept.values())
    accepted = history.accepted("action")
    lost = [
        key
        for key, attempt in accepted.items()
        if (row := kept.get(attempt.answer["id"])) is None or row["reason"] != key or not row["principal"]
    ]
    twice = [str(reason) for reason, count in reasons.items() if count > 1]
    never_done = [key for key in _refused(history, "action") if reasons[key]]
    unwritten = [f"{row['reason']} (by nobody)" for row in kept.values() if not row["principal"]]
    return _verdict(
        "what operators did is written down, once, with who and why",
        [*lost, *twice, *never_done, *unwritten],
        f"{len(accepted):,} accepted, {len(reasons):,} written down",
    )


def one_answer_a_key(history: History) -> Verdict:
    """Tell whether whoever asked again was told the same."""
    first: dict[tuple[str, str], Attempt] = {}
    repeated, off = 0, []
    for attempt in history.attempts:
        # Reports of goods are recognised by the ids of their rows: the second answer counts them as duplicates.
        if not attempt.is_accepted or attempt.operation == "stock-events":
            continue
        before = first.setdefault((attempt.operation, attempt.key), attempt)
        repeated += before is not attempt
        if (before.status, before.answer) != (attempt.status, attempt.answer):
            off.append(attempt.key)
    return _verdict("a key that is sent again gets the same answer", off, f"{repeated:,} repeated")


def anticipated_answers(history: History) -> Verdict:
    """Tell whether every error was one that says what to do."""
    statuses = Counter(attempt.status for attempt in history.attempts)
    off = [
        f"{attempt.operation} {attempt.key}: {attempt.status}"
        for attempt in history.attempts
        if attempt.status in {500, 502} or (attempt.status >= 500 and attempt.answer.get("retryable") is not True)
    ]
    counts = ", ".join(f"{count:,} x {status or 'none'}" for status, count in sorted(statuses.items()))
    return _verdict("no answer is an error nobody anticipated", off, counts)


def only_injected(letters: Sequence[str], injected: Collection[str]) -> Verdict:
    """Tell whether all that was injected was set aside, and nothing else."""
    strange = sorted(set(letters) - set(injected))
    missing = sorted(set(injected) - set(letters))
    return Verdict(
        "the dead letters are what was injected",
        not strange and not missing,
        f"{len(injected)} injected, {len(letters)} set aside, strange {strange[:3]}, missing {missing[:3]}",
    )


def told_no_secret(logs: Path, secrets: Mapping[str, str]) -> Verdict:
    """Tell whether no log in a folder holds a secret."""
    told = [
        f"{name} in {log.name}"
        for log in sorted(logs.glob("*.log"))
        for line in [log.read_text("utf-8", errors="replace")]
        for name, secret in secrets.items()
        if secret in line
    ]
    return _verdict("no log holds a secret", told, f"{len(secrets)} secrets looked for")


async def _dead_letters(bootstrap_servers: str, topic_prefix: str) -> list[str]:
    names = [f"{topic_prefix}{group}.dlq" for group in READERS]
    return [_injection(record.headers) for record in await read_everything(bootstrap_servers, names)]


def _injection(headers: Sequence[tuple[str, bytes]]) -> str:
    found = dict(headers)
    if INJECTED_HEADER in found:
        return found[INJECTED_HEADER].decode()
    return json.dumps({name: value.decode(errors="replace") for name, value in found.items() if "dlq" in name})


async def _none(database: asyncpg.Connection, invariant: str, query: str) -> Verdict:
    count = await database.fetchval(query)
    return Verdict(invariant, count == 0, f"{count:,}")


def _judged(invariant: str, text: str, off: Sequence[str], figures: str) -> Judged:
    return Judged(invariant, _verdict(text, off, figures))


def _verdict(text: str, off: Sequence[str], figures: str) -> Verdict:
    examples = f": {', '.join(off[:3])}" if off else ""
    return Verdict(text, not off, f"{figures}, {len(off):,} off{examples}")
