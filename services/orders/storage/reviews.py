"""What reviews look up, set-based for all orders that arrive together, and the queue of those that wait."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from uuid import UUID

from libs.common.db import Transaction
from services.orders.domain.order import NewOrder, units_by_sku
from services.orders.domain.review import AT_ONCE, Counted, History, Needs, Subject, Window, subject_of
from services.orders.handlers.ports import HeldReview, QueueFilter, WaitingReview

# Of a customer with more orders than that, the newest are added up: a bound for what a review may read.
_ORDERS_MAX: Final = 5_000

_LOCK = "SELECT pg_advisory_xact_lock(name) FROM unnest($1::bigint[]) AS name"

_ANY_BLOCK = "SELECT EXISTS (SELECT FROM review_blocks WHERE lifted_at IS NULL)"

# What the orders are asked for, once for all parts; $8 and $9 are the units of each.
_ASKED = """
WITH asked AS MATERIALIZED (
    SELECT *, $7::timestamptz AS at
    FROM unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS one (number, order_id, customer, address, email, placed_at)
), wanted AS MATERIALIZED (
    SELECT * FROM unnest($8::int[], $9::text[]) AS one (number, sku)
)
"""
_BLOCKED = """
SELECT number, {part} AS part, named.subject AS key, 1::bigint AS value
FROM asked CROSS JOIN LATERAL (VALUES {subjects}) AS named (subject, value)
JOIN review_blocks AS block ON block.subject = named.subject AND block.value = named.value AND block.lifted_at IS NULL
WHERE block.expires_at IS NULL OR block.expires_at > asked.at
"""
_SUBJECTS: Final[Mapping[Subject, str]] = {
    Subject.CUSTOMER: "('customer', customer)",
    Subject.ADDRESS: "('address', address)",
    # As it came with the order, and as it is known of the customer.
    Subject.EMAIL: """('email', email), ('email', (
        SELECT encode(sha256(convert_to(lower(contact.email), 'UTF8')), 'hex')
        FROM customer_contacts AS contact WHERE contact.customer_id = customer
    ))""",
}
_KNOWN = """
SELECT number, {part}, '', 1 FROM asked
WHERE EXISTS (
    SELECT FROM orders WHERE customer_id = customer AND status NOT IN ('refused', 'cancelled')
    AND orders.id <> asked.order_id
)
"""
_BY_CUSTOMER = """
    SELECT id, status, currency, total_minor, placed_at FROM orders
    WHERE customer_id = customer ORDER BY id DESC LIMIT {limit}
"""
_BY_ADDRESS = """
    SELECT orders.id, status, currency, total_minor, orders.placed_at
    FROM (
        SELECT order_id FROM review_addresses WHERE address_hash = address ORDER BY order_id DESC LIMIT {limit}
    ) AS there JOIN orders ON orders.id = there.order_id
"""
_WITHIN = "earlier.placed_at > asked.placed_at - {interval} AND earlier.placed_at <= asked.placed_at + {at_once}"
_SUM = """
SELECT number, {part}, {key}, {value}
FROM asked CROSS JOIN LATERAL ({earlier}) AS earlier
WHERE earlier.id <> asked.order_id AND {within}
GROUP BY number, {key}
"""
_SUM_UNITS = """
SELECT asked.number, {part}, line.sku, sum(line.quantity)::bigint
FROM asked CROSS JOIN LATERAL ({earlier}) AS earlier
JOIN wanted ON wanted.number = asked.number
JOIN order_lines AS line ON line.order_id = earlier.id AND line.sku = wanted.sku
WHERE earlier.id <> asked.order_id AND earlier.status NOT IN ('refused', 'cancelled') AND {within}
GROUP BY asked.number, line.sku
"""

_NOTE_ADDRESSES = """
INSERT INTO review_addresses (order_id, address_hash) SELECT * FROM unnest($1::uuid[], $2::text[])
"""
_ADD = """
INSERT INTO order_reviews (order_id, held_at, ship_by, score, reasons, rules)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_DECIDE = """
UPDATE order_reviews SET verdict = $2, reason = $3, reviewer = $4, decided_at = $5
WHERE order_id = $1 AND decided_at IS NULL
"""
_WAITING = """
SELECT review.order_id, customer_id, channel, currency, total_minor, country, placed_at, deadline_at,
       held_at, ship_by, score, reasons, rules, escalated_at
FROM orders JOIN order_reviews AS review ON review.order_id = orders.id
LEFT JOIN LATERAL (
    SELECT max(entered_at) AS escalated_at FROM order_timeline
    WHERE order_timeline.order_id = orders.id AND stage = 'held' AND detail = 'review-escalated'
) AS escalation ON true
WHERE status = 'held'
"""
_MEASURE = """
SELECT count(*) AS waiting, min(held_at) AS since, count(*) FILTER (WHERE ship_by < $1) AS late
FROM orders JOIN order_reviews ON order_reviews.order_id = orders.id WHERE status = 'held'
"""

_BLOCKED_PART: Final = -1
_KNOWN_PART: Final = -2


class PostgresReviews:
    """The reviews of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def lock_subjects(self, orders: Collection[NewOrder], *, by_address: bool) -> None:
        """Wait for whoever reviews orders of the same customers or addresses (see `Reviews.lock_subjects`)."""
        subjects = (Subject.CUSTOMER, Subject.ADDRESS) if by_address else (Subject.CUSTOMER,)
        names = {(subject, subject_of(order, subject)) for order in orders for subject in subjects}
        # In one order for everybody, so that two batches wait for each other instead of deadlocking.
        locks = sorted({_lock_name(subject, name) for subject, name in names if name is not None})
        driver = await self._transaction.driver()
        await driver.execute(_LOCK, locks)

    async def histories(self, orders: Sequence[NewOrder], needs: Needs, *, now: datetime) -> Mapping[UUID, History]:
        """Return what was known before the orders (see `Reviews.histories`)."""
        driver = await self._transaction.driver()
        if needs.are_blocks_alone and not await driver.fetchval(_ANY_BLOCK):
            return {}
        windows = _ordered(needs.windows)
        query = _query(needs.blocked, needs.is_known, windows)
        counts_units = any(window.counted is Counted.UNITS for window in windows)
        units = [
            (number, one.sku)
            for number, order in enumerate(orders if counts_units else ())
            for one in units_by_sku(order.lines)
        ]
        hashes_addresses = Subject.ADDRESS in needs.blocked or needs.counts_by(Subject.ADDRESS)
        rows = await driver.fetch(
            query,
            list(range(len(orders))),
            [order.id for order in orders],
            [order.facts.customer_id for order in orders],
            [subject_of(order, Subject.ADDRESS) if hashes_addresses else None for order in orders],
            [order.review.email_hash for order in orders],
            [order.facts.placed_at for order in orders],
            now,
            [number for number, _ in units],
            [sku for _, sku in units],
        )
        blocked: dict[int, set[Subject]] = {}
        known: set[int] = set()
        sums: dict[int, dict[Window, dict[str, int]]] = {}
        for number, part, key, value in rows:
            if part == _BLOCKED_PART:
                blocked.setdefault(number, set()).add(Subject(key))
            elif part == _KNOWN_PART:
                known.add(number)
            else:
                sums.setdefault(number, {}).setdefault(windows[part], {})[key] = value
        return {
            orders[number].id: History(
                blocked=frozenset(blocked.get(number, ())), is_known=number in known, sums=sums.get(number, {})
            )
            for number in blocked.keys() | known | sums.keys()
        }

    async def note_addresses(self, orders: Collection[NewOrder]) -> None:
        """Keep which addresses orders go to (see `Reviews.note_addresses`)."""
        found = [(order.id, one) for order in orders if (one := subject_of(order, Subject.ADDRESS)) is not None]
        if found:
            driver = await self._transaction.driver()
            await driver.execute(_NOTE_ADDRESSES, [order_id for order_id, _ in found], [one for _, one in found])

    async def add(self, held: Collection[HeldReview]) -> None:
        """Put orders into the queue."""
        driver = await self._transaction.driver()
        await driver.executemany(
            _ADD, [(one.order_id, one.held_at, one.ship_by, one.score, one.reasons, one.rules) for one in held]
        )

    async def decide(self, order_id: UUID, *, verdict: str, reason: str, reviewer: str, now: datetime) -> None:
        """Keep what a person decided."""
        driver = await self._transaction.driver()
        await driver.execute(_DECIDE, order_id, verdict, reason, reviewer, now)

    async def reasons_of(self, order_id: UUID) -> Sequence[str]:
        """Return what the rules held an order for; nothing if they did not."""
        driver = await self._transaction.driver()
        return await driver.fetchval("SELECT reasons FROM order_reviews WHERE order_id = $1", order_id) or ()

    async def waiting(self, wanted: QueueFilter, *, limit: int) -> Sequence[WaitingReview]:
        """Return held orders, the one that has to leave first at the front."""
        conditions, arguments = [], list[object]()

        def add(condition: str, *values: object) -> None:
            numbers = [f"${len(arguments) + place}" for place in range(1, len(values) + 1)]
            arguments.extend(values)
            conditions.append(condition.format(*numbers))

        if wanted.reason is not None:
            add("{} = ANY(reasons)", wanted.reason)
        if wanted.customer_id is not None:
            add("customer_id = {}", wanted.customer_id)
        if wanted.channel is not None:
            add("channel = {}", wanted.channel)
        if wanted.is_escalated is not None:
            add("(escalated_at IS NOT NULL) = {}", wanted.is_escalated)
        if wanted.after is not None:
            add("(ship_by, review.order_id) > ({}::timestamptz, {}::uuid)", *wanted.after)
        add("true ORDER BY ship_by, review.order_id LIMIT {}", limit)
        driver = await self._transaction.driver()
        rows = await driver.fetch(" AND ".join((_WAITING, *conditions)), *arguments)
        return [WaitingReview(**{**row, "reasons": tuple(row["reasons"])}) for row in rows]


async def measure_reviews(transaction: Transaction, *, now: datetime) -> tuple[int, float, int]:
    """Return how many orders wait for a review, for how many seconds the oldest has, and how many should have left."""
    driver = await transaction.driver()
    row = await driver.fetchrow(_MEASURE, now)
    if row is None:
        return 0, 0.0, 0
    return row["waiting"], 0.0 if row["since"] is None else (now - row["since"]).total_seconds(), row["late"]


def _lock_name(subject: Subject, name: str) -> int:
    digest = hashlib.blake2b(f"review:{subject}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _ordered(windows: Collection[Window]) -> tuple[Window, ...]:
    return tuple(sorted(windows, key=lambda one: (one.counted, one.subject, one.duration)))


@cache
def _query(blocked: frozenset[Subject], is_known: bool, windows: tuple[Window, ...]) -> str:  # noqa: FBT001 - cached
    """Return one statement for everything that the rules need."""
    parts = []
    if blocked:
        parts.append(_BLOCKED.format(part=_BLOCKED_PART, subjects=", ".join(_SUBJECTS[one] for one in sorted(blocked))))
    if is_known:
        parts.append(_KNOWN.format(part=_KNOWN_PART))
    parts.extend(_sum(number, window) for number, window in enumerate(windows))
    return _ASKED + " UNION ALL ".join(parts)


def _sum(number: int, window: Window) -> str:
    earlier = (_BY_ADDRESS if window.subject is Subject.ADDRESS else _BY_CUSTOMER).format(limit=_ORDERS_MAX)
    within = _WITHIN.format(interval=_interval(window.duration), at_once=_interval(AT_ONCE))
    match window.counted:
        case Counted.UNITS:
            return _SUM_UNITS.format(part=number, earlier=earlier, within=within)
        case Counted.ORDERS:
            return _SUM.format(part=number, key="''::text", value="count(*)", earlier=earlier, within=within)
        case Counted.AMOUNT:
            value = "least(sum(earlier.total_minor), 9223372036854775807)::bigint"
            return _SUM.format(part=number, key="earlier.currency", value=value, earlier=earlier, within=within)


def _interval(duration: timedelta) -> str:
    return f"make_interval(secs => {duration.total_seconds()})"
