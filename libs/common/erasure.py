"""Erasing a person from a service: the same for each, whatever it has."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from libs.common.db import Transaction
from libs.common.events.base import Envelope, Event, Topic
from libs.common.events.customers import CustomerErased, CustomerErasureRequested
from libs.common.events.outbox import Outbox
from libs.common.events.topics import ORDERS_CUSTOMER
from libs.common.http.idempotency import ERASED_STATUS
from libs.common.messaging.consumer import BatchHandler, Refusals, Subscription

_ANSWERS: Final = """
UPDATE idempotency_keys SET status = $2, body = ''
WHERE status IS NOT NULL AND (
    EXISTS (
        SELECT FROM regexp_matches(
            encode(body, 'escape'), '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'g'
        ) AS found WHERE found[1]::uuid = ANY($1::uuid[])
    )
    OR EXISTS (SELECT FROM unnest($3::bytea[]) AS text WHERE position(text IN body) > 0)
)
"""
_DECISIONS: Final = """
UPDATE decisions SET record = (record::jsonb || '{"reason": "withheld", "inputs": {}, "alternatives": []}')::json
WHERE subject = ANY($1::text[])
"""


Erase = Callable[[CustomerErasureRequested, Transaction], Awaitable[int]]


def erasing(
    subscription: Subscription, *, service: str, erase: Erase, outbox: Callable[[Transaction], Outbox]
) -> Subscription:
    """
    Let a group erase people besides what it does, and answer with the number of rows that `erase` returns.

    The answer is in the transaction of what it tells of.
    """

    async def handle(batch: Sequence[Envelope], transaction: Transaction) -> None:
        for envelope in batch:
            request = envelope.event
            if isinstance(request, CustomerErasureRequested):
                rows = await erase(request, transaction)
                outbox(transaction).add(answer(request, service=service, rows=rows), cause=envelope)

    return beside(subscription, topic=ORDERS_CUSTOMER, event=CustomerErasureRequested, handle=handle)


def answer(request: CustomerErasureRequested, *, service: str, rows: int) -> CustomerErased:
    """Return what a service answers that has erased what it had."""
    return CustomerErased(erasure_id=request.erasure_id, part_id=request.part_id, service=service, rows=rows)


def beside(subscription: Subscription, *, topic: Topic, event: type[Event], handle: BatchHandler) -> Subscription:
    """
    Let a group handle a rare event besides its own.

    A group for it alone would ask the broker all day for what comes once a week.
    """
    usual = subscription.handle

    async def handle_both(batch: Sequence[Envelope], transaction: Transaction) -> Refusals | None:
        rare = [envelope for envelope in batch if type(envelope.event) is event]
        if not rare:
            return await usual(batch, transaction)
        others = [envelope for envelope in batch if type(envelope.event) is not event]
        refusals = await usual(others, transaction) if others else None
        await handle(rare, transaction)
        return refusals

    return replace(
        subscription,
        topics=(*subscription.topics, topic),
        events=(*subscription.events, event),
        handle=handle_both,
    )


async def erase_answers(transaction: Transaction, ids: Sequence[UUID], *, texts: Sequence[bytes] = ()) -> int:
    """
    Empty the answers that are kept for repeated writes and hold one of `ids` or `texts`; return how many there were.

    The keys stay until they expire: without them, a write that is sent again would be done again. It is a scan of the
    answers of two days.
    """
    driver = await transaction.driver()
    return affected(await driver.execute(_ANSWERS, list(ids), int(ERASED_STATUS), list(texts)))


async def erase_decisions(transaction: Transaction, subjects: Sequence[str]) -> int:
    """Leave of decision records what was decided, not why or by what; return how many there were."""
    driver = await transaction.driver()
    return affected(await driver.execute(_DECISIONS, list(subjects)))


def affected(status: str) -> int:
    """Return the number of rows that a statement says it has changed."""
    return int(status.rpartition(" ")[2])
