"""Webhook endpoints and their deliveries: every statement works on many rows."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from libs.common.db import Database, Transaction
from libs.common.ids import new_id
from libs.common.sealing import Seal
from services.orders.domain.webhooks import Answer, DeliveryStatus, Endpoint, EndpointStatus, Verdict
from services.orders.handlers.webhooks import AttemptView, ClaimedDelivery, DeliveryView, NewDelivery

Result = TypeVar("Result")

_ENDPOINT = """
SELECT id, url, description, event_types, status, secret, created_at, previous_secret, previous_secret_expires_at,
       disabled_reason, disabled_at, resume_at, last_succeeded_at
FROM webhook_endpoints
"""
_SECRETS = "SELECT id, secret, previous_secret FROM webhook_endpoints"
_INSERT_ENDPOINT = """
INSERT INTO webhook_endpoints (id, url, description, event_types, status, secret, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_SAVE_ENDPOINT = """
UPDATE webhook_endpoints
SET status = $2, secret = $3, previous_secret = $4, previous_secret_expires_at = $5, disabled_reason = $6,
    disabled_at = $7, resume_at = $8, last_succeeded_at = $9
WHERE id = $1
"""
# The endpoints are locked, so nobody else adds to or takes from their queues meanwhile. Only the first of an order's
# pending deliveries has a time: the others wait for it.
_ENQUEUE = """
WITH fresh AS (
    SELECT entry.*
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[])
         WITH ORDINALITY AS entry (id, endpoint_id, event_id, order_id, type, payload, place)
    WHERE NOT EXISTS (
        SELECT FROM webhook_deliveries known
        WHERE known.endpoint_id = entry.endpoint_id AND known.event_id = entry.event_id
    )
)
INSERT INTO webhook_deliveries (id, endpoint_id, event_id, order_id, type, payload, status, created_at, due_at)
SELECT id, endpoint_id, event_id, order_id, type, payload, 'pending', $7,
       CASE WHEN row_number() OVER (PARTITION BY endpoint_id, order_id ORDER BY place) = 1 AND NOT EXISTS (
           SELECT FROM webhook_deliveries earlier
           WHERE earlier.endpoint_id = fresh.endpoint_id AND earlier.order_id = fresh.order_id
                 AND earlier.status = 'pending'
       ) THEN $7::timestamptz END
FROM fresh ORDER BY place
"""
_CLAIM = """
WITH chosen AS (
    SELECT due.id
    FROM webhook_endpoints endpoint
    LEFT JOIN unnest($4::uuid[], $5::integer[]) AS busy (endpoint_id, calls) ON busy.endpoint_id = endpoint.id
    CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE endpoint_id = endpoint.id AND status = 'pending' AND due_at <= $1
        ORDER BY due_at LIMIT greatest(0, $6 - coalesce(busy.calls, 0)) FOR UPDATE SKIP LOCKED
    ) due
    WHERE endpoint.status = 'active' AND (endpoint.resume_at IS NULL OR endpoint.resume_at <= $1)
    LIMIT $3
)
UPDATE webhook_deliveries SET attempts = attempts + 1, due_at = $2
FROM chosen WHERE webhook_deliveries.id = chosen.id
RETURNING webhook_deliveries.id, endpoint_id, event_id, order_id, type, payload, attempts, created_at
"""
_CONCLUDE = """
UPDATE webhook_deliveries
SET status = $3, due_at = $4, last_status = $5, last_error = $6,
    delivered_at = CASE WHEN $3 = 'delivered' THEN $7::timestamptz END
WHERE id = $1 AND attempts = $2 AND status = 'pending'
"""
_ADD_ATTEMPT = """
INSERT INTO webhook_attempts (delivery_id, attempt, attempted_at, status, error, duration_seconds, excerpt)
SELECT $1, coalesce(max(attempt), 0) + 1, $2, $3, $4, $5, $6 FROM webhook_attempts WHERE delivery_id = $1
"""
_WAKE = """
WITH heads AS (
    SELECT DISTINCT ON (endpoint_id, order_id) id, due_at
    FROM webhook_deliveries
    JOIN unnest($1::uuid[], $2::uuid[]) AS lane (endpoint_id, order_id) USING (endpoint_id, order_id)
    WHERE status = 'pending'
    ORDER BY endpoint_id, order_id, position
)
UPDATE webhook_deliveries SET due_at = $3 FROM heads
WHERE webhook_deliveries.id = heads.id AND heads.due_at IS NULL
"""
_DELIVERY = """
SELECT id, position, event_id, order_id, type, status, attempts, created_at, due_at, delivered_at, last_status,
       last_error
FROM webhook_deliveries
"""
_ATTEMPTS = """
SELECT attempt, attempted_at, status, error, duration_seconds, excerpt
FROM webhook_attempts WHERE delivery_id = $1 ORDER BY attempt
"""
_FAILED_SINCE = """
SELECT id FROM webhook_deliveries
WHERE endpoint_id = $1 AND status = 'failed' AND created_at >= $2 ORDER BY position LIMIT $3
"""
# A replayed delivery that stands before what its order waits for now goes first: whoever is not the head waits.
_REPLAY = """
UPDATE webhook_deliveries SET status = 'pending', attempts = 0, due_at = NULL, delivered_at = NULL
WHERE endpoint_id = $1 AND id = ANY($2::uuid[]) AND status <> 'pending' RETURNING order_id
"""
# The rows of a delivered message are its log; those of the topics are kept for as long.
_PURGE = """
WITH old AS (
    SELECT id FROM webhook_deliveries WHERE status <> 'pending' AND created_at < $1 ORDER BY created_at LIMIT $2
), gone AS (
    DELETE FROM webhook_attempts USING old WHERE delivery_id = old.id
)
DELETE FROM webhook_deliveries USING old WHERE webhook_deliveries.id = old.id
"""
_OPEN = """
SELECT count(*) AS open, extract(epoch FROM $1 - min(created_at)) AS oldest_seconds
FROM webhook_deliveries WHERE status = 'pending'
"""

_BEYOND_EVERY_POSITION = 2**63 - 1
_PURGE_ROWS_MAX = 5_000


class PostgresWebhooks:
    """The endpoints and deliveries, as one transaction sees them."""

    def __init__(self, transaction: Transaction, *, seal: Seal) -> None:
        """Work in `transaction`, which somebody else commits; `seal` is for the signing secrets."""
        self._transaction = transaction
        self._seal = seal

    async def add(self, endpoint: Endpoint) -> None:
        """Store a new endpoint."""
        driver = await self._transaction.driver()
        await driver.execute(
            _INSERT_ENDPOINT,
            endpoint.id,
            endpoint.url,
            endpoint.description,
            list(endpoint.event_types),
            endpoint.status.value,
            self._seal.seal(endpoint.secret),
            endpoint.created_at,
        )

    async def count(self) -> int:
        """Return how many endpoints there are, and keep that number until the transaction ends."""
        driver = await self._transaction.driver()
        await driver.execute("LOCK TABLE webhook_endpoints IN SHARE ROW EXCLUSIVE MODE")
        return int(await driver.fetchval("SELECT count(*) FROM webhook_endpoints"))

    async def save(self, endpoint: Endpoint) -> None:
        """Store what became of a locked endpoint."""
        driver = await self._transaction.driver()
        await driver.execute(
            _SAVE_ENDPOINT,
            endpoint.id,
            endpoint.status.value,
            self._seal.seal(endpoint.secret),
            None if endpoint.previous_secret is None else self._seal.seal(endpoint.previous_secret),
            endpoint.previous_secret_expires_at,
            endpoint.disabled_reason,
            endpoint.disabled_at,
            endpoint.resume_at,
            endpoint.last_succeeded_at,
        )

    async def find(self, endpoint_id: UUID) -> Endpoint | None:
        """Return an endpoint."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(f"{_ENDPOINT} WHERE id = $1", endpoint_id)
        return None if row is None else self._endpoint(row)

    async def lock(self, endpoint_ids: Collection[UUID]) -> Mapping[UUID, Endpoint]:
        """Return those that exist, locked in the order of their ids."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(
            f"{_ENDPOINT} WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE", list(endpoint_ids)
        )
        return {row["id"]: self._endpoint(row) for row in rows}

    async def lock_active(self) -> Sequence[Endpoint]:
        """Return those that are sent to, locked in the order of their ids."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(f"{_ENDPOINT} WHERE status = 'active' ORDER BY id FOR NO KEY UPDATE")
        return [self._endpoint(row) for row in rows]

    async def endpoints(self) -> Sequence[Endpoint]:
        """Return all endpoints, oldest first."""
        driver = await self._transaction.driver()
        return [self._endpoint(row) for row in await driver.fetch(f"{_ENDPOINT} ORDER BY id")]

    async def enqueue(self, deliveries: Sequence[NewDelivery], *, now: datetime) -> int:
        """Add what is not there yet (see `Webhooks.enqueue`)."""
        # One event may come twice in a batch.
        distinct = list({(one.endpoint_id, one.event_id): one for one in reversed(deliveries)}.values())[::-1]
        driver = await self._transaction.driver()
        tag = await driver.execute(
            _ENQUEUE,
            [new_id() for _ in distinct],
            [one.endpoint_id for one in distinct],
            [one.event_id for one in distinct],
            [one.order_id for one in distinct],
            [one.type for one in distinct],
            [one.payload for one in distinct],
            now,
        )
        return _rows(tag)

    async def claim(
        self, *, now: datetime, leased_until: datetime, limit: int, of_endpoint_max: int, busy: Mapping[UUID, int]
    ) -> Sequence[ClaimedDelivery]:
        """Take due deliveries that nobody has (see `Webhooks.claim`)."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_CLAIM, now, leased_until, limit, list(busy), list(busy.values()), of_endpoint_max)
        if not rows:
            return ()
        found = await driver.fetch(f"{_ENDPOINT} WHERE id = ANY($1::uuid[])", [row["endpoint_id"] for row in rows])
        endpoints = {row["id"]: self._endpoint(row) for row in found}
        return [
            ClaimedDelivery(
                id=row["id"],
                event_id=row["event_id"],
                order_id=row["order_id"],
                type=row["type"],
                payload=row["payload"],
                attempts=row["attempts"],
                created_at=row["created_at"],
                endpoint=endpoints[row["endpoint_id"]],
            )
            for row in rows
        ]

    async def conclude(
        self, delivery: ClaimedDelivery, answer: Answer, verdict: Verdict, *, now: datetime, attempted_at: datetime
    ) -> bool:
        """Note an attempt (see `Webhooks.conclude`)."""
        driver = await self._transaction.driver()
        await driver.execute(
            _ADD_ATTEMPT,
            delivery.id,
            attempted_at,
            answer.status,
            answer.error,
            answer.duration_seconds,
            answer.excerpt,
        )
        tag = await driver.execute(
            _CONCLUDE,
            delivery.id,
            delivery.attempts,
            verdict.status.value,
            verdict.due_at,
            answer.status,
            answer.error,
            now,
        )
        if not _rows(tag):
            return False
        if verdict.status is not DeliveryStatus.PENDING:
            await driver.execute(_WAKE, [delivery.endpoint.id], [delivery.order_id], now)
        return True

    async def deliveries(
        self, endpoint_id: UUID, *, status: DeliveryStatus | None, before: int | None, limit: int
    ) -> Sequence[DeliveryView]:
        """Return deliveries, newest first."""
        conditions = ["endpoint_id = $1", "position < $2"]
        arguments: list[object] = [endpoint_id, _BEYOND_EVERY_POSITION if before is None else before, limit]
        if status is not None:
            conditions.append("status = $4")
            arguments.append(status.value)
        driver = await self._transaction.driver()
        query = f"{_DELIVERY} WHERE {' AND '.join(conditions)} ORDER BY position DESC LIMIT $3"
        return [_delivery(row) for row in await driver.fetch(query, *arguments)]

    async def delivery(self, endpoint_id: UUID, delivery_id: UUID) -> DeliveryView | None:
        """Return a delivery."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(f"{_DELIVERY} WHERE endpoint_id = $1 AND id = $2", endpoint_id, delivery_id)
        return None if row is None else _delivery(row)

    async def attempts(self, delivery_id: UUID) -> Sequence[AttemptView]:
        """Return the attempts of a delivery, oldest first."""
        driver = await self._transaction.driver()
        return [AttemptView(**dict(row)) for row in await driver.fetch(_ATTEMPTS, delivery_id)]

    async def replay(self, endpoint_id: UUID, delivery_ids: Sequence[UUID], *, now: datetime) -> int:
        """Begin again with deliveries that are not pending (see `Webhooks.replay`)."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_REPLAY, endpoint_id, list(delivery_ids))
        order_ids = list({row["order_id"] for row in rows})
        await driver.execute(_WAKE, [endpoint_id] * len(order_ids), order_ids, now)
        return len(rows)

    async def failed_since(self, endpoint_id: UUID, since: datetime, *, limit: int) -> Sequence[UUID]:
        """Return failed deliveries of events queued since then, oldest first."""
        driver = await self._transaction.driver()
        return [row["id"] for row in await driver.fetch(_FAILED_SINCE, endpoint_id, since, limit)]

    def _endpoint(self, row: asyncpg.Record) -> Endpoint:
        fields = dict(row)
        fields["status"] = EndpointStatus(row["status"])
        fields["event_types"] = tuple(row["event_types"])
        fields["secret"] = self._seal.open(row["secret"])
        if row["previous_secret"] is not None:
            fields["previous_secret"] = self._seal.open(row["previous_secret"])
        return Endpoint(**fields)


class PostgresWebhookUnits:
    """Opens transactions on the webhooks."""

    def __init__(self, database: Database, *, seal: Seal) -> None:
        """Nothing connects yet."""
        self._database = database
        self._seal = seal

    async def run(self, work: Callable[[PostgresWebhooks], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        return await self._database.run(lambda transaction: work(PostgresWebhooks(transaction, seal=self._seal)))


async def renew_seals(transaction: Transaction, *, seal: Seal) -> int:
    """Seal what is open, or sealed under a key of before; return how many endpoints that were."""
    driver = await transaction.driver()
    outdated = [
        row["id"]
        for row in await driver.fetch(_SECRETS)
        if not all(seal.is_current(one) for one in (row["secret"], row["previous_secret"]) if one is not None)
    ]
    webhooks = PostgresWebhooks(transaction, seal=seal)
    for endpoint in (await webhooks.lock(outdated)).values():
        await webhooks.save(endpoint)
    return len(outdated)


async def purge_deliveries(transaction: Transaction, *, now: datetime, older_than: timedelta) -> int:
    """Forget what was delivered, or given up, long ago; return how many rows went, a few thousand at a time."""
    driver = await transaction.driver()
    return _rows(await driver.execute(_PURGE, now - older_than, _PURGE_ROWS_MAX))


async def measure_deliveries(transaction: Transaction, *, now: datetime) -> tuple[int, float]:
    """Return how many deliveries are pending, and for how many seconds the oldest has been."""
    driver = await transaction.driver()
    row: Any = await driver.fetchrow(_OPEN, now)
    return int(row["open"]), float(row["oldest_seconds"] or 0.0)


def _delivery(row: asyncpg.Record) -> DeliveryView:
    fields = dict(row)
    fields["status"] = DeliveryStatus(row["status"])
    return DeliveryView(**fields)


def _rows(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
