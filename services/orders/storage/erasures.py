"""The register of erasures, and what an erasure does to the tables of this service."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.erasure import affected, erase_answers, erase_decisions
from libs.common.outbox import OutboxWriter
from libs.common.privacy import ERASED, WITHHELD
from services.orders.domain.erasure import (
    OTHER_SERVICES,
    OWN_SERVICE,
    Erasure,
    ErasureStatus,
    Holdup,
    ServiceAnswer,
)
from services.orders.domain.order import TERMINAL, Address
from services.orders.domain.review import address_hash
from services.orders.handlers.erasures import ErasureUnit

Result = TypeVar("Result")

_HOLDUPS_SHOWN_MAX: Final = 100
# Reading every answer of two days, and every delivery of a month, may take longer than a request is given.
_PATIENCE: Final = ("SET LOCAL statement_timeout = '5min'", "SET LOCAL transaction_timeout = '10min'")
_OVER: Final = [status.value for status in sorted(TERMINAL)]

_COLUMNS: Final = """
id, customer, customer_id, visitors, order_ids, status, reason, requested_at, requested_by, erased_at, done_at, rows
"""
_REQUEST: Final = """
INSERT INTO erasures AS known (id, customer, customer_id, visitors, status, reason, requested_at, requested_by)
VALUES ($1, $2, $3, $4, 'requested', $5, $6, $7)
ON CONFLICT (customer) DO UPDATE
SET customer_id = excluded.customer_id, status = 'requested', done_at = NULL,
    visitors = ARRAY(SELECT DISTINCT unnest(known.visitors || excluded.visitors) ORDER BY 1)
-- Asked again, it is done again only if there is something new to erase.
WHERE known.status = 'done' AND ($8 OR NOT excluded.visitors <@ known.visitors)
"""
_FIND: Final = f"SELECT {_COLUMNS} FROM erasures WHERE customer = $1"  # noqa: S608 - a constant
_PAGE: Final = f"""
SELECT {_COLUMNS} FROM erasures
WHERE ($1::text IS NULL OR status = $1) AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""  # noqa: S608 - a constant
_TAKE: Final = f"""
SELECT {_COLUMNS} FROM erasures WHERE status = 'requested' AND requested_at <= $1 AND NOT id = ANY($2::uuid[])
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant
_ANSWERS_OF: Final = """
SELECT erasure_id, service, sum(rows)::bigint AS rows,
       CASE WHEN count(*) = count(answered_at) THEN max(answered_at) END AS erased_at
FROM erasure_answers WHERE erasure_id = ANY($1::uuid[]) GROUP BY erasure_id, service ORDER BY service
"""
_HOLDUPS: Final = """
SELECT id AS order_id, status AS because FROM orders
WHERE (customer_id = $1 OR id = ANY($2::uuid[])) AND NOT status = ANY($3::text[])
UNION ALL
SELECT order_id, 'return' FROM returns JOIN orders ON orders.id = order_id
WHERE (customer_id = $1 OR orders.id = ANY($2::uuid[])) AND returns.status <> 'closed'
UNION ALL
SELECT DISTINCT order_id, 'payment' FROM payment_commands JOIN orders ON orders.id = order_id
WHERE (customer_id = $1 OR orders.id = ANY($2::uuid[])) AND payment_commands.status IN ('waiting', 'pending')
ORDER BY order_id, because LIMIT $4
"""
_IS_KNOWN: Final = """
SELECT EXISTS (SELECT FROM orders WHERE customer_id = $1)
    OR EXISTS (SELECT FROM customer_contacts WHERE customer_id = $1)
    OR EXISTS (SELECT FROM review_blocks WHERE subject = 'customer' AND value = $1)
"""
_ORDERS: Final = """
SELECT orders.id, hold_id, country, order_addresses.address::text AS address
FROM orders LEFT JOIN order_addresses ON order_addresses.order_id = orders.id
WHERE customer_id = $1 OR orders.id = ANY($2::uuid[]) ORDER BY orders.id FOR UPDATE OF orders
"""
_EMAIL_HASH: Final = """
SELECT encode(sha256(convert_to(lower(email), 'UTF8')), 'hex') FROM customer_contacts WHERE customer_id = $1
"""
# What looks like a code says nothing of anybody, and reports count by it.
_CODE: Final = "'^[a-z0-9][a-z0-9:./-]{0,63}$'"


def _sql(statement: str) -> str:
    constants = {"CODE": _CODE, "WITHHELD": f"'{WITHHELD}'", "ERASED": f"'{ERASED}'"}
    for name, value in constants.items():
        statement = statement.replace(name, value)
    return statement


# $1 are orders, $2 stands for the customer from now on.
_RENAMED: Final = tuple(
    _sql(statement)
    for statement in (
        """
        UPDATE orders SET customer_id = $2, reference = CASE WHEN reference IS NOT NULL THEN ERASED END,
               latitude = NULL, longitude = NULL, correlation_id = id::text, traceparent = NULL,
               status_reason = CASE WHEN status_reason ~ CODE OR status_reason IS NULL THEN status_reason
                                    ELSE WITHHELD END,
               revision = revision + 1
        WHERE id = ANY($1::uuid[])
        """,
        "UPDATE promotion_uses SET customer_id = $2 WHERE order_id = ANY($1::uuid[])",
        """
        WITH changed AS (
            UPDATE order_journeys SET customer_id = $2,
                   reason = CASE WHEN reason ~ CODE OR reason IS NULL THEN reason ELSE WITHHELD END
            WHERE order_id = ANY($1::uuid[]) RETURNING day
        ), months AS (
            INSERT INTO cohort_marks SELECT DISTINCT date_trunc('month', day)::date FROM changed ON CONFLICT DO NOTHING
        )
        INSERT INTO journey_marks (day) SELECT DISTINCT day FROM changed
        """,
        # Those days are summed up anew in a moment, without the person's words; nobody reads them until then.
        """
        DELETE FROM reason_summaries USING order_journeys
        WHERE order_journeys.order_id = ANY($1::uuid[]) AND order_journeys.customer_id = $2
          AND reason_summaries.day = order_journeys.day AND reason_summaries.reason !~ CODE
        """,
    )
)
_EMPTIED: Final = tuple(
    _sql(statement)
    for statement in (
        "DELETE FROM order_addresses WHERE order_id = ANY($1::uuid[])",
        """
        UPDATE order_timeline SET detail = WITHHELD
        WHERE order_id = ANY($1::uuid[]) AND detail IS NOT NULL AND detail !~ CODE
        """,
        "UPDATE payments SET token = ERASED WHERE order_id = ANY($1::uuid[])",
        "UPDATE payment_commands SET token = ERASED WHERE order_id = ANY($1::uuid[]) AND token IS NOT NULL",
        # The sandbox is a payment provider that forgets when it is told to; others are told in their own ways.
        """
        UPDATE sandbox.sandbox_charges SET token = ERASED FROM payments
        WHERE sandbox_charges.reference = payments.reference AND payments.order_id = ANY($1::uuid[])
        """,
        """
        UPDATE sandbox.sandbox_charges SET token = ERASED FROM payment_commands
        WHERE sandbox_charges.reference = payment_commands.reference AND payment_commands.order_id = ANY($1::uuid[])
        """,
        "UPDATE order_actions SET reason = WITHHELD WHERE order_id = ANY($1::uuid[]) AND reason !~ CODE",
        "UPDATE order_reviews SET reason = WITHHELD WHERE order_id = ANY($1::uuid[]) AND reason !~ CODE",
        "UPDATE order_edits SET reason = WITHHELD WHERE order_id = ANY($1::uuid[]) AND reason !~ CODE",
        "DELETE FROM review_addresses WHERE order_id = ANY($1::uuid[])",
        """
        UPDATE returns SET reason = CASE WHEN reason ~ CODE THEN reason ELSE WITHHELD END,
               label_reference = CASE WHEN label_reference IS NOT NULL THEN ERASED END,
               payment_token = CASE WHEN payment_token IS NOT NULL THEN ERASED END
        WHERE order_id = ANY($1::uuid[])
        """,
        """
        UPDATE imported_orders SET reference = ERASED || '-' || order_id, content_hash = ''
        WHERE order_id = ANY($1::uuid[])
        """,
        """
        UPDATE notifications SET last_outcome = ERASED WHERE order_id = ANY($1::uuid[]) AND last_outcome IS NOT NULL
        """,
        """
        UPDATE webhook_attempts SET excerpt = '' FROM webhook_deliveries
        WHERE webhook_attempts.delivery_id = webhook_deliveries.id AND order_id = ANY($1::uuid[]) AND excerpt <> ''
        """,
    )
)
_OF_CUSTOMER: Final = (
    "DELETE FROM customer_contacts WHERE customer_id = $1",
    "DELETE FROM customer_months WHERE customer_id = $1",
)
# Who was blocked stays blocked, as a hash; what was lifted is forgotten.
_BLOCKS: Final = _sql("""
UPDATE review_blocks
SET value = CASE WHEN subject = 'customer' THEN $2 WHEN lifted_at IS NOT NULL THEN ERASED ELSE value END,
    reason = CASE WHEN reason ~ CODE THEN reason ELSE WITHHELD END,
    lifted_reason = CASE WHEN lifted_reason ~ CODE OR lifted_reason IS NULL THEN lifted_reason ELSE WITHHELD END
WHERE value = ANY($1::text[])
""")
_SPREAD: Final = """
UPDATE erasures
SET status = 'spreading', customer_id = NULL, order_ids = $2, erased_at = $3, rows = rows + $4 WHERE id = $1
"""
_EXPECT: Final = """
INSERT INTO erasure_answers (part_id, service, erasure_id)
SELECT part_id, service, $1 FROM unnest($2::uuid[]) AS part_id CROSS JOIN unnest($3::text[]) AS service
"""
_NOTE: Final = """
UPDATE erasure_answers SET answered_at = $1, rows = told.rows
FROM unnest($2::uuid[], $3::text[], $4::bigint[]) AS told (part_id, service, rows)
WHERE erasure_answers.part_id = told.part_id AND erasure_answers.service = told.service AND answered_at IS NULL
RETURNING erasure_id
"""
_FINISH: Final = """
UPDATE erasures SET status = 'done', done_at = $2
WHERE id = ANY($1::uuid[]) AND status = 'spreading' AND NOT EXISTS (
    SELECT FROM erasure_answers WHERE erasure_id = erasures.id AND answered_at IS NULL
)
"""
_REGISTER: Final = "SELECT customer FROM erasures WHERE requested_at > $1::timestamptz - interval '1 minute'"
# By the time in their ids, which say when orders were made here.
_CUSTOMERS: Final = """
SELECT DISTINCT customer_id FROM orders WHERE id >= $1 AND customer_id NOT LIKE 'erased-%'
UNION
SELECT customer_id FROM customer_contacts WHERE updated_at >= $2
"""
_ASK_AGAIN: Final = """
UPDATE erasures
SET status = 'requested', done_at = NULL, customer_id = coalesce(found.customer_id, erasures.customer_id)
FROM unnest($1::text[], $2::text[]) AS found (customer, customer_id)
WHERE erasures.customer = found.customer AND ($3 OR status = 'done')
"""
_RESTORE: Final = """
INSERT INTO erasures AS known (id, customer, visitors, order_ids, status, reason, requested_at, requested_by)
VALUES ($1, $2, $3, $4, 'requested', 'restored', $5, 'restore')
ON CONFLICT (customer) DO UPDATE
SET visitors = ARRAY(SELECT DISTINCT unnest(known.visitors || excluded.visitors) ORDER BY 1),
    order_ids = ARRAY(SELECT DISTINCT unnest(known.order_ids || excluded.order_ids) ORDER BY 1)
"""
_MEASURE: Final = """
SELECT count(*) FILTER (WHERE status = 'requested') AS requested,
       count(*) FILTER (WHERE status = 'spreading') AS spreading,
       coalesce(extract(epoch FROM $1::timestamptz - min(requested_at)), 0)::float8 AS oldest_seconds
FROM erasures WHERE status <> 'done'
"""

_decode_address = msgspec.json.Decoder(Address).decode


class PostgresErasures:
    """The register, as one transaction sees it."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def request(self, erasure: Erasure) -> None:
        """Enter an erasure (see `Erasures.request`)."""
        driver = await self._transaction.driver()
        is_known = await driver.fetchval(_IS_KNOWN, erasure.customer_id)
        await driver.execute(
            _REQUEST,
            erasure.id,
            erasure.customer,
            erasure.customer_id,
            list(erasure.visitors),
            erasure.reason,
            erasure.requested_at,
            erasure.requested_by,
            is_known,
        )

    async def find(self, customer: str) -> Erasure | None:
        """Return an erasure with what is known of it (see `Erasures.find`)."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_FIND, customer)
        if row is None:
            return None
        [found] = await self._whole([row])
        return found

    async def page(self, *, status: ErasureStatus | None, before_id: UUID | None, limit: int) -> Sequence[Erasure]:
        """Return erasures, newest first (see `Erasures.page`)."""
        driver = await self._transaction.driver()
        return await self._whole(await driver.fetch(_PAGE, None if status is None else status.value, before_id, limit))

    async def take(self, *, requested_before: datetime, passed_over: Sequence[UUID]) -> Erasure | None:
        """Lock an erasure that is to be carried out (see `Erasures.take`)."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_TAKE, requested_before, list(passed_over))
        return None if row is None else _erasure(row)

    async def holdups(self, erasure: Erasure) -> Sequence[Holdup]:
        """Return what is not over yet (see `Erasures.holdups`)."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_HOLDUPS, erasure.customer_id, list(erasure.order_ids), _OVER, _HOLDUPS_SHOWN_MAX)
        return [Holdup(row["order_id"], row["because"]) for row in rows]

    async def erase(self, erasure: Erasure) -> tuple[Sequence[UUID], Sequence[UUID], int]:
        """Replace a person in every table (see `Erasures.erase`)."""
        driver = await self._transaction.driver()
        for statement in _PATIENCE:
            await driver.execute(statement)
        rows = await driver.fetch(_ORDERS, erasure.customer_id, list(erasure.order_ids))
        orders = [row["id"] for row in rows]
        blocked = await self._blocked_values(erasure, rows)
        count = 0
        for statement in _RENAMED:
            count += affected(await driver.execute(statement, orders, erasure.erased_name))
        for statement in _EMPTIED:
            count += affected(await driver.execute(statement, orders))
        if erasure.customer_id is not None:
            for statement in _OF_CUSTOMER:
                count += affected(await driver.execute(statement, erasure.customer_id))
        count += affected(await driver.execute(_BLOCKS, blocked, erasure.erased_name))
        count += await erase_decisions(self._transaction, [f"order:{one}" for one in orders])
        count += await erase_answers(self._transaction, orders, texts=_said_of(erasure.customer_id))
        return orders, [row["hold_id"] for row in rows if row["hold_id"] is not None], count

    async def _blocked_values(self, erasure: Erasure, orders: Sequence[asyncpg.Record]) -> list[str]:
        driver = await self._transaction.driver()
        hashes = {
            address_hash(row["country"], _decode_address(row["address"]))
            for row in orders
            if row["address"] is not None
        }
        email = None
        if erasure.customer_id is not None:
            email = await driver.fetchval(_EMAIL_HASH, erasure.customer_id)
        return [value for value in (erasure.customer_id, email, *hashes) if value is not None]

    async def spread(
        self, erasure: Erasure, *, order_ids: Sequence[UUID], part_ids: Sequence[UUID], rows: int, now: datetime
    ) -> None:
        """Note that this service is done, and from whom answers are expected (see `Erasures.spread`)."""
        driver = await self._transaction.driver()
        await driver.execute(_SPREAD, erasure.id, sorted({*erasure.order_ids, *order_ids}), now, rows)
        await driver.execute("DELETE FROM erasure_answers WHERE erasure_id = $1", erasure.id)
        await driver.execute(_EXPECT, erasure.id, list(part_ids), list(OTHER_SERVICES))

    async def note_answers(self, answers: Sequence[tuple[UUID, str, int]], *, now: datetime) -> int:
        """Note what services have answered (see `Erasures.note_answers`)."""
        driver = await self._transaction.driver()
        parts, services, rows = zip(*answers, strict=True)
        noted = await driver.fetch(_NOTE, now, list(parts), list(services), list(rows))
        return affected(await driver.execute(_FINISH, list({row["erasure_id"] for row in noted}), now))

    async def registered_since(self, since: datetime) -> Sequence[str]:
        """Return the pseudonyms of customers whose erasure was requested since then (see `Erasures`)."""
        driver = await self._transaction.driver()
        return [row["customer"] for row in await driver.fetch(_REGISTER, since)]

    async def customers_since(self, since: datetime) -> Sequence[str]:
        """Return the ids of customers who came since then (see `Erasures.customers_since`)."""
        driver = await self._transaction.driver()
        first_id = UUID(int=max(0, int(since.timestamp() * 1000)) << 80)
        return [row["customer_id"] for row in await driver.fetch(_CUSTOMERS, first_id, since)]

    async def ask_again(self, customers: Mapping[str, str | None], *, is_anew: bool) -> int:
        """Have erasures carried out again (see `Erasures.ask_again`)."""
        driver = await self._transaction.driver()
        return affected(await driver.execute(_ASK_AGAIN, list(customers), list(customers.values()), is_anew))

    async def restore(
        self, erasure_id: UUID, *, customer: str, visitors: Sequence[str], order_ids: Sequence[UUID], now: datetime
    ) -> None:
        """Enter what the register on the bus says (see `Erasures.restore`)."""
        driver = await self._transaction.driver()
        await driver.execute(_RESTORE, erasure_id, customer, list(visitors), list(order_ids), now)

    async def _whole(self, rows: Sequence[asyncpg.Record]) -> list[Erasure]:
        driver = await self._transaction.driver()
        answers = await driver.fetch(_ANSWERS_OF, [row["id"] for row in rows])
        found = []
        for row in rows:
            erasure = _erasure(
                row,
                [
                    ServiceAnswer(one["service"], one["rows"], one["erased_at"])
                    for one in answers
                    if one["erasure_id"] == row["id"]
                ],
            )
            holdups = await self.holdups(erasure) if erasure.status is ErasureStatus.REQUESTED else ()
            found.append(replace(erasure, holdups=holdups))
        return found


class PostgresErasureUnit:
    """What an erasure reaches in one transaction."""

    def __init__(self, transaction: Transaction, *, clock: Clock, wake_relay: Callable[[], None] | None) -> None:
        """Work in `transaction`, which somebody else commits."""
        self.erasures = PostgresErasures(transaction)
        self.outbox = OutboxWriter(transaction, source=OWN_SERVICE, clock=clock, wake_relay=wake_relay)


class PostgresErasureUnits:
    """Opens transactions on the register."""

    def __init__(self, database: Database, *, clock: Clock, wake_relay: Callable[[], None] | None = None) -> None:
        """`wake_relay` is called after each commit with events, if the relay is in the same process."""
        self._database = database
        self._clock = clock
        self._wake_relay = wake_relay

    async def run(self, work: Callable[[ErasureUnit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        return await self._database.run(
            lambda transaction: work(PostgresErasureUnit(transaction, clock=self._clock, wake_relay=self._wake_relay))
        )


async def measure_erasures(transaction: Transaction, *, now: datetime) -> tuple[Mapping[str, int], float]:
    """Return how many erasures are in each stage but the last, and since how many seconds the oldest is."""
    driver = await transaction.driver()
    row = await driver.fetchrow(_MEASURE, now)
    assert row is not None  # noqa: S101 - an aggregate
    return {"requested": row["requested"], "spreading": row["spreading"]}, row["oldest_seconds"]


def _said_of(customer_id: str | None) -> list[bytes]:
    """Return how answers without an order name a customer."""
    if customer_id is None:
        return []
    value = msgspec.json.encode(customer_id)
    return [b'"customer_id":' + value, b'"value":' + value]


def _erasure(row: asyncpg.Record, answers: Sequence[ServiceAnswer] = ()) -> Erasure:
    return Erasure(**{**row, "status": ErasureStatus(row["status"]), "answers": tuple(answers)})
