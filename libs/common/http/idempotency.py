"""
Writes that may be sent twice and have one effect.

The claim of a key, the effect and the stored answer are one transaction: a crash leaves all of them or none, and there
is no state in which the key is taken and the effect is not there. An effect that fails stores nothing, so that the
same key may be tried again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

import asyncpg
from fastapi import Depends, Header
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import Database, Transaction
from libs.common.errors import Conflict, Invalid
from libs.common.http.auth import Principal

# The wait for another request with the same key; a client that is answered 409 asks again.
LOCK_TIMEOUT_MS: Final = 2_000
_RETRY_AFTER_SECONDS: Final = 1
# Of a kept answer that was emptied.
ERASED_STATUS: Final = HTTPStatus.GONE
_PURGE_ROWS_MAX: Final = 10_000

# set_config runs before the first row is inserted, because the rows come out of a join with it. It holds for the rest
# of the transaction, which is right: no statement of an HTTP request should wait longer for a lock.
_CLAIM: Final = """
WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', $1, true))
INSERT INTO idempotency_keys (principal, key, route, request_hash, created_at)
SELECT entry.principal, entry.key, entry.route, entry.request_hash, $6
FROM patience
CROSS JOIN unnest($2::text[], $3::text[], $4::text[], $5::bytea[])
    WITH ORDINALITY AS entry (principal, key, route, request_hash, position)
ORDER BY entry.position
ON CONFLICT (principal, key) DO NOTHING
RETURNING principal, key
"""
_FIND: Final = """
SELECT principal, key, route, request_hash, status, body
FROM idempotency_keys
JOIN unnest($1::text[], $2::text[]) AS entry (principal, key) USING (principal, key)
"""
_STORE: Final = """
UPDATE idempotency_keys
SET status = entry.status, body = entry.body
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bytea[]) AS entry (principal, key, status, body)
WHERE idempotency_keys.principal = entry.principal AND idempotency_keys.key = entry.key
"""
_UNCLAIM: Final = """
DELETE FROM idempotency_keys USING unnest($1::text[], $2::text[]) AS entry (principal, key)
WHERE idempotency_keys.principal = entry.principal AND idempotency_keys.key = entry.key
"""
_PURGE: Final = """
DELETE FROM idempotency_keys
WHERE (principal, key) IN (
    SELECT principal, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2
)
"""

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Names this write: sent again with the same body, it gets the same answer and no second effect.",
    ),
]


class KeyReused(Invalid):
    """The Idempotency-Key was used for another request; a new write needs a new key."""

    code: ClassVar[str] = "idempotency-key-reused"

    def __init__(self) -> None:
        """Name the header."""
        super().__init__("The Idempotency-Key was used before for another request.", field="Idempotency-Key")


class KeyInProgress(Conflict):
    """A request with the same Idempotency-Key is being served; ask again to get its answer."""

    code: ClassVar[str] = "idempotency-key-in-progress"
    retry_after_seconds: ClassVar[int] = _RETRY_AFTER_SECONDS

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__("A request with this Idempotency-Key is being served now.")


class AnswerErased(Conflict):
    """The write of this Idempotency-Key was done, and its answer was erased with the customer whom it told of."""

    code: ClassVar[str] = "answer-erased"

    def __init__(self) -> None:
        """Say that nothing is to be tried again."""
        super().__init__("This was done, for a customer who has been erased since.")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The answer to a write, as it is kept for whoever asks again."""

    status: int
    body: bytes
    replayed: bool = False

    def response(self, *, media_type: str = "application/json") -> Response:
        """Render it; a replayed answer says so."""
        headers = {"Idempotent-Replayed": "true"} if self.replayed else None
        return Response(self.body, status_code=self.status, media_type=media_type, headers=headers)


@dataclass(frozen=True, slots=True)
class KeyedWrite:
    """One write that a caller has named: who, the key, where, and a hash of what."""

    principal: str
    key: str
    route: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a write: nobody has before, and nobody else can until this transaction ends."""

    write: KeyedWrite


# What a write that was sent before is refused for.
Refusal = KeyReused | KeyInProgress | AnswerErased
ClaimOutcome = Claim | StoredResponse | Refusal


def idempotency_keys_table(metadata: MetaData) -> Table:
    """Declare the table in a service's metadata; each service has its own."""
    table = Table(
        "idempotency_keys",
        metadata,
        Column("principal", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("route", Text, nullable=False),
        Column("request_hash", LargeBinary, nullable=False),
        # Empty only while the claiming transaction is open, when nobody else can see the row.
        Column("status", SmallInteger),
        Column("body", LargeBinary),
        Column("created_at", DateTime(timezone=True), nullable=False),
        CheckConstraint("status BETWEEN 100 AND 599", name="status"),
    )
    # For the purge, which deletes the oldest rows.
    Index(None, table.c.created_at)
    return table


async def request_hash(request: Request) -> bytes:
    """Return a hash of everything that makes this request what it is: method, address and body."""
    digest = hashlib.sha256()
    scope = request.scope
    for part in (scope["method"].encode(), scope["path"].encode("utf-8", "surrogatepass"), scope["query_string"]):
        digest.update(len(part).to_bytes(4) + part)
    digest.update(await request.body())
    return digest.digest()


async def keyed_write(request: Request, key: IdempotencyKey) -> KeyedWrite:
    """Put together what names this write; the route must require a key of the caller before."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        message = "a keyed write needs requires(…) among the dependencies that come before it"
        raise RuntimeError(message)
    return KeyedWrite(
        principal=principal.name,
        key=key,
        route=f"{request.method} {request.scope['path']}",
        request_hash=await request_hash(request),
    )


# The parameter of a route that has an effect: `write: IdempotentWrite`, with `dependencies=[requires(…)]`.
IdempotentWrite = Annotated[KeyedWrite, Depends(keyed_write)]


async def write_once(
    database: Database,
    write: KeyedWrite,
    effect: Callable[[Transaction], Awaitable[StoredResponse]],
    *,
    now: datetime,
) -> StoredResponse:
    """
    Carry out `effect` in a transaction of its own unless the key has been used, and return its answer either way.

    :raises KeyReused: if the key was used for another request.
    :raises KeyInProgress: if a request with this key is still being served after two seconds.
    :raises AnswerErased: if it was carried out for a customer who has been erased since.
    """

    async def work(transaction: Transaction) -> StoredResponse:
        try:
            [outcome] = await claim_batch(transaction, [write], now=now)
        except asyncpg.LockNotAvailableError:
            raise KeyInProgress from None
        if isinstance(outcome, Refusal):
            raise outcome
        if isinstance(outcome, StoredResponse):
            return outcome
        response = await effect(transaction)
        store_batch(transaction, [(outcome, response)])
        return response

    return await database.run(work)


async def claim_batch(transaction: Transaction, writes: Sequence[KeyedWrite], *, now: datetime) -> list[ClaimOutcome]:
    """
    Claim the keys of many writes at once; return for each what to do, in the order of `writes`.

    A `Claim` is to be carried out and stored with `store_batch` in the same transaction; a `StoredResponse` is the
    answer given before; errors are to be raised to their callers. Of two writes in `writes` with one key, the
    first is claimed and the second is in progress (or reused, if it differs).
    """
    driver = await transaction.driver()
    # In one order for everybody: two batches that share keys wait for each other instead of deadlocking.
    ordered = sorted(range(len(writes)), key=lambda index: (writes[index].principal, writes[index].key))
    claimed_rows = await driver.fetch(
        _CLAIM,
        str(LOCK_TIMEOUT_MS),
        [writes[index].principal for index in ordered],
        [writes[index].key for index in ordered],
        [writes[index].route for index in ordered],
        [writes[index].request_hash for index in ordered],
        now,
    )
    unclaimed = {(row["principal"], row["key"]) for row in claimed_rows}
    claimed: dict[tuple[str, str], KeyedWrite] = {}
    outcomes: list[ClaimOutcome | None] = []
    for write in writes:
        identity = (write.principal, write.key)
        if identity in unclaimed:
            # The sort is stable, so the first of several with one key is the one whose row went in.
            unclaimed.remove(identity)
            claimed[identity] = write
            outcomes.append(Claim(write))
        elif identity in claimed:
            outcomes.append(KeyInProgress() if _is_same(write, claimed[identity]) else KeyReused())
        else:
            outcomes.append(None)
    known = [write for write, outcome in zip(writes, outcomes, strict=True) if outcome is None]
    stored = await _find(driver, known) if known else {}
    return [
        _replay(write, stored.get((write.principal, write.key))) if outcome is None else outcome
        for write, outcome in zip(writes, outcomes, strict=True)
    ]


def store_batch(transaction: Transaction, answers: Sequence[tuple[Claim, StoredResponse]]) -> None:
    """Keep the answers of claimed writes, in the transaction that claimed them."""
    if not answers:
        return
    transaction.defer(
        _STORE,
        [claim.write.principal for claim, _ in answers],
        [claim.write.key for claim, _ in answers],
        [response.status for _, response in answers],
        [response.body for _, response in answers],
    )


def unclaim_batch(transaction: Transaction, claims: Sequence[Claim]) -> None:
    """Give back the keys of claimed writes that were refused, so that they can be tried again."""
    if not claims:
        return
    transaction.defer(_UNCLAIM, [claim.write.principal for claim in claims], [claim.write.key for claim in claims])


async def purge_idempotency_keys(transaction: Transaction, *, now: datetime, older_than: timedelta) -> int:
    """Delete keys that nobody will send again, up to ten thousand at a time; return how many."""
    driver = await transaction.driver()
    tag = await driver.execute(_PURGE, now - older_than, _PURGE_ROWS_MAX)
    return int(tag.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class _Known:
    write: KeyedWrite
    response: StoredResponse | None


async def _find(driver: asyncpg.Connection, writes: Sequence[KeyedWrite]) -> dict[tuple[str, str], _Known]:
    rows = await driver.fetch(_FIND, [write.principal for write in writes], [write.key for write in writes])
    return {
        (row["principal"], row["key"]): _Known(
            KeyedWrite(row["principal"], row["key"], row["route"], row["request_hash"]),
            None if row["status"] is None else StoredResponse(row["status"], row["body"]),
        )
        for row in rows
    }


def _replay(write: KeyedWrite, known: _Known | None) -> StoredResponse | Refusal:
    if known is None or known.response is None:
        # The row was purged between the two statements; the next attempt will claim the key.
        return KeyInProgress()
    if not _is_same(write, known.write):
        return KeyReused()
    if known.response.status == ERASED_STATUS:
        return AnswerErased()
    return replace(known.response, replayed=True)


def _is_same(write: KeyedWrite, other: KeyedWrite) -> bool:
    return write.route == other.route and write.request_hash == other.request_hash
