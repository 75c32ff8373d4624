"""
The checker finds what it is there for: a small world that is right, and one fault in it for each question.

What is asked of databases alone is tried there: I1 to I4 and I8 in `tests/integration/bench/replay/test_invariants.py`,
I14 and what clients were told in `tests/faults/test_questions.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import ConsumerRecord

from bench.replay.bus import TopicReading
from bench.replay.event_invariants import event_verdicts
from bench.replay.topology import AGGREGATES
from libs.common.events.topics import ALL_TOPICS, INVENTORY_RESERVATION
from tests.faults.checker import (
    HANDLED,
    OPEN_TRANSACTIONS,
    anticipated_answers,
    at_rest,
    in_order,
    invariant_of,
    none_overtaken,
    one_answer_a_key,
    only_injected,
    told_no_secret,
)
from tests.faults.history import Attempt, History

ORDER, EVENT, LETTER, SECRET = "order-1", UUID(int=1), "what is no event", "sk_live_1"
NOW = datetime(2026, 3, 2, tzinfo=UTC)
VERSIONS = next(one.versions for one in AGGREGATES if one.topic is INVENTORY_RESERVATION)


@dataclass
class Database:
    """Answers by the question."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pending: int = 0
    booked_twice: int = 0
    sleeping: int = 0

    async def fetch(self, query: str, *_values: object) -> Sequence[Mapping[str, Any]]:
        return self.rows.get(query, [])

    async def fetchval(self, query: str) -> int:
        counts = {"outbox_events": self.pending, "stock_movements": self.booked_twice, OPEN_TRANSACTIONS: self.sleeping}
        return next((count for text, count in counts.items() if text in query), 0)


class World:
    """One order that was reserved, which the saga heard of, and two requests for it with one key."""

    def __init__(self, folder: Path) -> None:
        self.readings = {topic.name: TopicReading(topic) for topic in ALL_TOPICS}
        self.databases = {name: Database() for name in ("catalog", "inventory", "orders", "logistics", "recommender")}
        self.databases["inventory"].rows[VERSIONS] = [{"subject": ORDER, "version": 1}]
        self.inbox = "SELECT event_id FROM inbox_events WHERE consumer_group = $1"
        self.databases["orders"].rows[self.inbox] = [{"event_id": EVENT}]
        self.publish(EVENT, 1)
        self.lag = {"orders.saga": 0}
        self.letters, self.injected = [LETTER], {LETTER}
        self.logs = folder
        (folder / "orders.log").write_text("an order was placed", "utf-8")
        self.history = History(folder / "history.jsonl")
        self.answer = Attempt("order", "key-1", 0, 1, 201, "", {}, {"id": ORDER})
        self.history.attempts = [self.answer, self.answer]

    def publish(self, event_id: UUID, version: int, *, partition: int = 0) -> None:
        headers = {"ce_id": str(event_id), "ce_type": "stock.reserved", "ce_subject": ORDER}
        headers["aggregate_version"] = str(version)
        encoded = tuple((name, value.encode()) for name, value in headers.items())
        name = INVENTORY_RESERVATION.name
        self.readings[name].take(ConsumerRecord(name, partition, 0, 0, 0, b"", b"", None, 0, 0, encoded))

    def move(self, *, seconds: int) -> None:
        """Publish the next version to another partition, handled so much later than the one before."""
        second = UUID(int=2)
        self.publish(second, 2, partition=1)
        orders = self.databases["orders"].rows
        orders[self.inbox].append({"event_id": second})
        orders[HANDLED] = [
            {"event_id": EVENT, "processed_at": NOW},
            {"event_id": second, "processed_at": NOW + timedelta(seconds=seconds)},
        ]
        self.databases["inventory"].rows[VERSIONS] = [{"subject": ORDER, "version": 2}]

    async def broken(self) -> set[str]:
        databases: Any = self.databases
        verdicts = await event_verdicts(
            databases,
            readings=self.readings,
            lag=self.lag,
            dead_letters=len(set(self.letters) ^ set(self.injected)),
        )
        judged = [(invariant_of(one), one) for one in verdicts]
        judged += [
            ("I6", in_order(self.readings)),
            ("I6", await none_overtaken(databases, self.readings)),
            ("I9", one_answer_a_key(self.history)),
            ("I10", anticipated_answers(self.history)),
            ("I11", only_injected(self.letters, self.injected)),
            ("I13", told_no_secret(self.logs, {"the provider's key": SECRET})),
        ]
        judged += [(one.invariant, one.verdict) for one in await at_rest(databases)]
        return {invariant for invariant, verdict in judged if not verdict.holds}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_world_that_is_right_is_found_right(world: World) -> None:
    assert await world.broken() == set()


async def test_a_key_that_moved_to_another_partition_is_found_right(world: World) -> None:
    world.move(seconds=1)

    assert await world.broken() == set()


FAULTS: Mapping[str, tuple[str, Callable[[World], object]]] = {
    "an event without an effect": ("I5", lambda world: world.databases["orders"].rows[world.inbox].clear()),
    "an effect twice": ("I5", lambda world: setattr(world.databases["inventory"], "booked_twice", 1)),
    "an event again under another id": ("I6", lambda world: world.publish(UUID(int=2), 1)),
    "a version that overtakes another": ("I6", lambda world: world.move(seconds=-1)),
    "a connection that sleeps in a transaction": (
        "I10",
        lambda world: setattr(world.databases["orders"], "sleeping", 1),
    ),
    "an outbox that keeps an event": ("I7", lambda world: setattr(world.databases["orders"], "pending", 1)),
    "a version that nobody published": (
        "I7",
        lambda world: world.databases["inventory"].rows.update({VERSIONS: [{"subject": ORDER, "version": 2}]}),
    ),
    "another answer to the same key": (
        "I9",
        lambda world: world.history.attempts.append(replace(world.answer, answer={"id": "order-2"})),
    ),
    "an error that nobody anticipated": (
        "I10",
        lambda world: world.history.attempts.append(replace(world.answer, status=500)),
    ),
    "a dead letter that nobody injected": ("I11", lambda world: world.letters.append("a good event")),
    "a letter that is not among the dead ones": ("I11", lambda world: world.letters.clear()),
    "a group that is behind": ("I12", lambda world: world.lag.update({"orders.saga": 1})),
    "a secret in a log": ("I13", lambda world: (world.logs / "api.log").write_text(f"token={SECRET}", "utf-8")),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_finds_every_fault_that_it_is_there_for(world: World, fault: str) -> None:
    invariant, happen = FAULTS[fault]

    happen(world)

    assert invariant in await world.broken()


async def test_finds_versions_that_come_in_another_order_and_those_that_never_come(world: World) -> None:
    world.databases["orders"].rows[world.inbox] += [{"event_id": UUID(int=number)} for number in (3, 4)]
    world.databases["inventory"].rows[VERSIONS] = [{"subject": ORDER, "version": 4}]
    world.publish(UUID(int=4), 4)
    gap = await world.broken()
    world.publish(UUID(int=3), 3)
    world.publish(UUID(int=2), 2)
    world.databases["orders"].rows[world.inbox].append({"event_id": UUID(int=2)})
    disorder = await world.broken()

    assert (gap, disorder) == ({"I6"}, {"I6"})
