"""Keyed writes on PostgreSQL: one effect, whatever is sent and when."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import MetaData, text

from libs.common.db import Transaction, new_metadata
from libs.common.erasure import erase_answers
from libs.common.http import idempotency
from libs.common.http.idempotency import (
    AnswerErased,
    Claim,
    KeyedWrite,
    KeyInProgress,
    KeyReused,
    StoredResponse,
    claim_batch,
    idempotency_keys_table,
    purge_idempotency_keys,
    store_batch,
    write_once,
)
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, empty_database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREATED = StoredResponse(201, b'{"id":"o-1"}')


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    metadata: MetaData = new_metadata()
    idempotency_keys_table(metadata)
    async with empty_database(infrastructure, "idempotency") as database:
        async with database.transaction() as transaction:
            await transaction.connection.run_sync(metadata.create_all)
            await transaction.connection.execute(text("CREATE TABLE effects (name text)"))
        yield database


def a_write(key: str = "k-1", *, principal: str = "storefront", request: bytes = b"body") -> KeyedWrite:
    return KeyedWrite(principal, key, "POST /v1/orders", request)


async def place(
    database: FreshDatabase,
    write: KeyedWrite,
    *,
    before_commit: Callable[[], Awaitable[None]] | None = None,
    failure: Exception | None = None,
    answer: StoredResponse = CREATED,
) -> StoredResponse:
    """Do what a route does: one transaction, in which the effect is a row."""

    async def effect(transaction: Transaction) -> StoredResponse:
        await transaction.connection.execute(text("INSERT INTO effects VALUES (:name)"), {"name": write.key})
        if failure is not None:
            raise failure
        if before_commit is not None:
            transaction.before_commit(before_commit)
        return answer

    return await write_once(database, write, effect, now=NOW)


async def effects(database: FreshDatabase) -> list[str]:
    async with database.transaction() as transaction:
        rows = await transaction.connection.execute(text("SELECT name FROM effects ORDER BY name"))
        return list(rows.scalars())


class TestWriteOnce:
    async def test_has_one_effect_and_the_same_answer_when_sent_again(self, database: FreshDatabase) -> None:
        first = await place(database, a_write())
        second = await place(database, a_write())

        assert first == CREATED
        assert second == StoredResponse(201, CREATED.body, replayed=True)
        assert second.response().headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.response().headers
        assert await effects(database) == ["k-1"]

    @pytest.mark.parametrize(
        "other",
        [a_write(request=b"another body"), KeyedWrite("storefront", "k-1", "POST /v1/returns", b"body")],
        ids=["another body", "another route"],
    )
    async def test_refuses_the_key_for_another_request(self, other: KeyedWrite, database: FreshDatabase) -> None:
        await place(database, a_write())

        with pytest.raises(KeyReused):
            await place(database, other)

        assert await effects(database) == ["k-1"]

    async def test_whose_answer_was_erased_is_not_done_again_and_tells_nothing(self, database: FreshDatabase) -> None:
        order_id, other_id = uuid4(), uuid4()
        for key, made in (("k-1", order_id), ("k-2", other_id)):
            answer = StoredResponse(201, f'{{"id":"{made}"}}'.encode())
            await place(database, a_write(key), answer=answer)
        async with database.transaction() as transaction:
            assert await erase_answers(transaction, [order_id]) == 1

        with pytest.raises(AnswerErased) as refused:
            await place(database, a_write())

        assert str(order_id) not in str(refused.value)
        assert (await place(database, a_write("k-2"))).replayed
        assert await effects(database) == ["k-1", "k-2"]
        with pytest.raises(KeyReused):
            await place(database, a_write(request=b"another body"))

    async def test_keeps_the_keys_of_each_caller_apart(self, database: FreshDatabase) -> None:
        await place(database, a_write())
        response = await place(database, a_write(principal="warehouse", request=b"another body"))

        assert not response.replayed

    async def test_frees_the_key_when_the_effect_fails(self, database: FreshDatabase) -> None:
        with pytest.raises(ZeroDivisionError):
            await place(database, a_write(), failure=ZeroDivisionError())

        assert await place(database, a_write()) == CREATED
        assert await effects(database) == ["k-1"]

    async def test_of_fifty_at_once_has_one_effect(self, database: FreshDatabase) -> None:
        results = await asyncio.gather(*(place(database, a_write()) for _ in range(50)), return_exceptions=True)

        fresh = [result for result in results if result == CREATED]
        replayed = [result for result in results if isinstance(result, StoredResponse) and result.replayed]
        refused = [result for result in results if isinstance(result, KeyInProgress)]
        assert len(fresh) == 1
        assert len(fresh) + len(replayed) + len(refused) == 50
        assert await effects(database) == ["k-1"]

    async def test_waits_for_the_other_and_replays_its_answer(self, database: FreshDatabase) -> None:
        claimed, commit = asyncio.Event(), asyncio.Event()

        async def pause() -> None:
            claimed.set()
            await commit.wait()

        async with asyncio.TaskGroup() as group:
            first = group.create_task(place(database, a_write(), before_commit=pause))
            await claimed.wait()
            second = group.create_task(place(database, a_write()))
            await until_someone_waits(database)
            commit.set()

        assert not first.result().replayed
        assert second.result().replayed

    async def test_takes_over_when_the_other_fails(self, database: FreshDatabase) -> None:
        claimed, fail = asyncio.Event(), asyncio.Event()

        async def give_up() -> None:
            claimed.set()
            await fail.wait()
            raise ZeroDivisionError

        first = asyncio.gather(place(database, a_write(), before_commit=give_up), return_exceptions=True)
        await claimed.wait()
        async with asyncio.TaskGroup() as group:
            second = group.create_task(place(database, a_write()))
            await until_someone_waits(database)
            fail.set()
        await first

        assert second.result() == CREATED
        assert await effects(database) == ["k-1"]

    async def test_does_not_wait_longer_than_the_lock_timeout(
        self, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(idempotency, "LOCK_TIMEOUT_MS", 50)
        claimed, commit = asyncio.Event(), asyncio.Event()

        async def pause() -> None:
            claimed.set()
            await commit.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(place(database, a_write(), before_commit=pause))
            await claimed.wait()

            with pytest.raises(KeyInProgress) as refusal:
                await place(database, a_write())
            commit.set()

        assert refusal.value.retry_after_seconds >= 1


async def until_someone_waits(database: FreshDatabase) -> None:
    # Other tests, whose waits are none of ours, use other databases of the same server.
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def count() -> int:
        async with database.transaction() as transaction:
            return int((await transaction.connection.execute(waiting)).scalar_one())

    await eventually(count)


class TestClaimBatch:
    async def test_says_for_each_write_what_to_do(self, database: FreshDatabase) -> None:
        await place(database, a_write("known"))
        await place(database, a_write("reused"))
        writes = [a_write("new-b"), a_write("known"), a_write("reused", request=b"x"), a_write("new-a")]

        async with database.transaction() as transaction:
            outcomes = await claim_batch(transaction, writes, now=NOW)

        assert outcomes[0] == Claim(writes[0])
        assert outcomes[1] == StoredResponse(201, CREATED.body, replayed=True)
        assert isinstance(outcomes[2], KeyReused)
        assert outcomes[3] == Claim(writes[3])

    async def test_claims_a_key_once_if_the_batch_has_it_twice(self, database: FreshDatabase) -> None:
        writes = [a_write(), a_write(), a_write(request=b"another body")]

        async with database.transaction() as transaction:
            outcomes = await claim_batch(transaction, writes, now=NOW)

        assert outcomes[0] == Claim(writes[0])
        assert isinstance(outcomes[1], KeyInProgress)
        assert isinstance(outcomes[2], KeyReused)

    async def test_stored_answers_are_replayed(self, database: FreshDatabase) -> None:
        writes = [a_write(f"k-{number}") for number in range(500)]
        async with database.transaction() as transaction:
            claims = [claim for claim in await claim_batch(transaction, writes, now=NOW) if isinstance(claim, Claim)]
            answers = [(claim, StoredResponse(201, claim.write.key.encode())) for claim in claims]
            store_batch(transaction, answers)

        async with database.transaction() as transaction:
            replayed = await claim_batch(transaction, writes, now=NOW)

        assert replayed == [StoredResponse(201, write.key.encode(), replayed=True) for write in writes]

    async def test_of_batches_with_the_same_keys_in_other_orders_never_deadlocks(self, database: FreshDatabase) -> None:
        writes = [a_write(f"k-{number}") for number in range(100)]

        async def carry_out(order: list[KeyedWrite]) -> int:
            async with database.transaction() as transaction:
                outcomes = await claim_batch(transaction, order, now=NOW)
                claims = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
                store_batch(transaction, [(claim, CREATED) for claim in claims])
                return len(claims)

        counts = await asyncio.gather(*(carry_out(writes[shift:] + writes[:shift]) for shift in range(0, 100, 10)))

        assert sum(counts) == 100

    async def test_of_nothing_does_nothing(self, database: FreshDatabase) -> None:
        async with database.transaction() as transaction:
            assert await claim_batch(transaction, [], now=NOW) == []
            store_batch(transaction, [])


class TestPurge:
    async def test_deletes_keys_after_two_days_and_keeps_younger_ones(self, database: FreshDatabase) -> None:
        async def claim(transaction: Transaction, key: str, created_at: datetime) -> None:
            [claim] = await claim_batch(transaction, [a_write(key)], now=created_at)
            assert isinstance(claim, Claim)
            store_batch(transaction, [(claim, CREATED)])

        async with database.transaction() as transaction:
            await claim(transaction, "old", NOW - timedelta(hours=48, seconds=1))
            await claim(transaction, "young", NOW - timedelta(hours=47))

        async with database.transaction() as transaction:
            assert await purge_idempotency_keys(transaction, now=NOW, older_than=timedelta(hours=48)) == 1

        async with database.transaction() as transaction:
            outcomes = await claim_batch(transaction, [a_write("old"), a_write("young")], now=NOW)
        assert isinstance(outcomes[0], Claim)
        assert isinstance(outcomes[1], StoredResponse)
