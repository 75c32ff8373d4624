"""The invariants of the whole system, each computed from the databases and topics by a query of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.replay.bus import TopicReading, consumer_lag, count_records, read_topics
from bench.replay.databases import Databases, open_databases
from bench.replay.event_invariants import event_verdicts
from bench.replay.order_invariants import order_verdicts
from bench.replay.sent_invariants import sent_verdicts
from bench.replay.settings import ReplaySettings
from bench.replay.stock_invariants import stock_verdicts
from bench.replay.timeline import Script
from bench.replay.topology import GROUPS
from bench.replay.verdict import Verdict
from libs.common.events.topics import ALL_TOPICS
from libs.common.messaging.dead_letters import dead_letter_topic

_ORDERS_BY_STATUS = "SELECT status, count(*) AS orders FROM orders GROUP BY status"
_MONEY_BACK = "SELECT count(*) FROM payments WHERE refunded_minor > 0"
_STOCK_EVENTS = "SELECT count(DISTINCT event_id) FROM stock_movements WHERE kind NOT IN ('ship', 'return', 'shortfall')"
_SPLIT = """
SELECT count(*) FROM (
    SELECT order_id FROM reservation_lines GROUP BY order_id HAVING count(DISTINCT warehouse) > 1
) AS split
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found in the databases and on the bus."""

    verdicts: Sequence[Verdict]
    readings: Mapping[str, TopicReading]
    lag: Mapping[str, int]
    orders_by_status: Counter[str]
    orders_refunded: int
    orders_split: int
    stock_events: int

    @property
    def all_hold(self) -> bool:
        """Whether no invariant is broken."""
        return all(verdict.holds for verdict in self.verdicts)

    def events(self, topic: str, event_type: str) -> int:
        """Return how many events of a type there are."""
        return self.readings[topic].by_type[event_type]


async def examine(settings: ReplaySettings, *, script: Script | None = None) -> Findings:
    """
    Examine the whole system, and with `script` whether all of that replay is there.

    The system must be quiet, or what moves between two queries looks lost.
    """
    servers, prefix = settings.quayside_kafka_bootstrap_servers, settings.quayside_kafka_topic_prefix
    readings = await read_topics(ALL_TOPICS, bootstrap_servers=servers, topic_prefix=prefix)
    lag = await consumer_lag(
        {name: group.topics for name, group in GROUPS.items()}, bootstrap_servers=servers, topic_prefix=prefix
    )
    dead_letters = await count_records(
        [dead_letter_topic(name) for name in GROUPS], bootstrap_servers=servers, topic_prefix=prefix
    )
    async with open_databases(settings) as databases:
        verdicts = [
            *await stock_verdicts(databases),
            *await order_verdicts(databases),
            *await event_verdicts(databases, readings=readings, lag=lag, dead_letters=dead_letters),
        ]
        if script is not None:
            verdicts.extend(await sent_verdicts(script, databases, readings))
        return await _findings(databases, verdicts=verdicts, readings=readings, lag=lag)


async def _findings(
    databases: Databases,
    *,
    verdicts: Sequence[Verdict],
    readings: Mapping[str, TopicReading],
    lag: Mapping[str, int],
) -> Findings:
    orders, inventory = databases["orders"], databases["inventory"]
    by_status = Counter({row["status"]: row["orders"] for row in await orders.fetch(_ORDERS_BY_STATUS)})
    return Findings(
        verdicts=verdicts,
        readings=readings,
        lag=lag,
        orders_by_status=by_status,
        orders_refunded=await orders.fetchval(_MONEY_BACK),
        orders_split=await inventory.fetchval(_SPLIT),
        stock_events=await inventory.fetchval(_STOCK_EVENTS),
    )
