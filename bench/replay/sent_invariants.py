"""Nothing that a service acknowledged to the replay may be missing, and nothing may be there twice."""

from collections.abc import Mapping

from bench.replay.bus import TopicReading
from bench.replay.databases import Databases
from bench.replay.payloads import CHANNEL, order_reference, stock_event_id, view_id
from bench.replay.timeline import Script
from bench.replay.verdict import Verdict
from libs.common.events.topics import STOREFRONT_BEHAVIOUR

_ORDERS = (
    "SELECT reference, count(*) AS orders FROM orders WHERE channel = $1 AND reference IS NOT NULL GROUP BY reference"
)
_RECEIPTS = """
SELECT event_id, sum(delta_on_hand)::bigint AS units
FROM stock_movements WHERE kind = 'receipt' AND event_id = ANY($1::uuid[]) GROUP BY event_id
"""


async def sent_verdicts(script: Script, databases: Databases, readings: Mapping[str, TopicReading]) -> list[Verdict]:
    """Compare what the replay sent with what is there."""
    return [
        await _orders(script, databases),
        await _stock_events(script, databases),
        _views(script, readings),
    ]


async def _orders(script: Script, databases: Databases) -> Verdict:
    placed = {row["reference"]: row["orders"] for row in await databases["orders"].fetch(_ORDERS, CHANNEL)}
    wanted = [order_reference(script.dataset, sale) for sale in script.sales]
    off = sum(placed.get(reference, 0) != 1 for reference in wanted)
    return Verdict("every order of the replay is there exactly once", off == 0, f"{len(wanted):,} sent, {off:,} off")


async def _stock_events(script: Script, databases: Databases) -> Verdict:
    deliveries = (*script.supply.opening, *script.supply.later)
    sent = {stock_event_id(script.dataset, delivery): delivery.quantity for delivery in deliveries}
    rows = await databases["inventory"].fetch(_RECEIPTS, list(sent))
    booked = {row["event_id"]: row["units"] for row in rows}
    off = sum(booked.get(event_id, 0) != units for event_id, units in sent.items())
    figures = f"{len(sent):,} sent, {sum(sent.values()):,} units, {off:,} off"
    return Verdict("every delivery of the replay is in the ledger exactly once", off == 0, figures)


def _views(script: Script, readings: Mapping[str, TopicReading]) -> Verdict:
    sent = {view_id(script.dataset, view) for view in script.views}
    lost = sent - readings[STOREFRONT_BEHAVIOUR.name].event_ids.get("product.viewed", set())
    return Verdict(
        "every product view of the replay is on the bus", not lost, f"{len(sent):,} sent, {len(lost):,} lost"
    )
