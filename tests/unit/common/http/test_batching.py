import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar

import asyncpg
import pytest

from libs.common.errors import Conflict, Unavailable
from libs.common.http.batching import BatchMismatch, Coalescer
from libs.common.pacing import WorkPace
from tests.support.eventually import eventually

who: ContextVar[str] = ContextVar("who", default="nobody")


class Poison(Exception):
    pass


class Work:
    """Doubles numbers batch by batch, when it is let; notes what it was given and in which context."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.contexts: list[str] = []
        self.failure: Exception | None = None
        self.poison: int | None = None
        self.running = 0
        self.running_max = 0
        self._gate = asyncio.Event()
        self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    async def __call__(self, requests: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(requests))
        self.contexts.append(who.get())
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await self._gate.wait()
            await turns()
        finally:
            self.running -= 1
        if self.failure is not None:
            raise self.failure
        if self.poison in requests:
            raise Poison
        return [Conflict("odd") if request % 2 else request * 2 for request in requests]


@pytest.fixture
def work() -> Work:
    return Work()


async def number_of(batches: Sequence[object]) -> int:
    return len(batches)


async def turns(count: int = 5) -> None:
    """Let every task that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def submitted(coalescer: Coalescer[int, int], requests: Sequence[int]) -> AsyncIterator[list[asyncio.Task[int]]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coalescer.submit(request)) for request in requests]
        await turns()
        yield tasks


async def outcomes(coalescer: Coalescer[int, int], requests: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(coalescer.submit(request) for request in requests), return_exceptions=True)


class TestBatches:
    async def test_a_lone_request_starts_at_once(self, work: Work) -> None:
        async with Coalescer(work, delay_seconds_max=3600) as coalescer:
            assert await coalescer.submit(4) == 8

        assert work.batches == [[4]]

    async def test_requests_of_one_moment_go_together(self, work: Work) -> None:
        async with Coalescer(work, delay_seconds_max=3600) as coalescer:
            assert await outcomes(coalescer, [2, 4, 6]) == [4, 8, 12]

        assert work.batches == [[2, 4, 6]]

    async def test_what_arrives_while_a_batch_runs_forms_the_next(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=1) as coalescer:
            work.hold()
            async with submitted(coalescer, [2]) as first, submitted(coalescer, [4, 6, 8]) as others:
                work.release()

        assert work.batches == [[2], [4, 6, 8]]
        assert [task.result() for task in (*first, *others)] == [4, 8, 12, 16]

    async def test_a_second_batch_does_not_wait_long_for_the_first(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=2, delay_seconds_max=0.001) as coalescer:
            work.hold()
            async with submitted(coalescer, [2]), submitted(coalescer, [4, 6]):
                await eventually(lambda: number_of(work.batches), lambda number: number == 2)
                work.release()

        assert work.batches == [[2], [4, 6]]

    async def test_what_comes_soon_after_several_goes_together(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=1, pace=WorkPace(interval_seconds=0.02)) as coalescer:
            await outcomes(coalescer, [2, 4])
            async with submitted(coalescer, [6]):
                await turns()
                await coalescer.submit(8)

        assert work.batches == [[2, 4], [6, 8]]

    async def test_one_after_the_other_never_wait_for_company(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=1, pace=WorkPace(interval_seconds=3600)) as coalescer:
            assert [await coalescer.submit(request) for request in (2, 4, 6)] == [4, 8, 12]

    async def test_never_run_more_at_once_than_allowed(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=2, batch_size_max=1, delay_seconds_max=0) as coalescer:
            await outcomes(coalescer, range(0, 40, 2))

        assert work.running_max == 2
        assert len(work.batches) == 20

    async def test_never_hold_more_than_allowed(self, work: Work) -> None:
        async with Coalescer(work, batch_size_max=3) as coalescer:
            await outcomes(coalescer, range(0, 20, 2))

        assert max(len(batch) for batch in work.batches) == 3
        assert sorted(request for batch in work.batches for request in batch) == list(range(0, 20, 2))


class TestFailures:
    async def test_an_exception_among_the_results_is_its_requests_own(self, work: Work) -> None:
        async with Coalescer(work) as coalescer:
            first, second = await outcomes(coalescer, [2, 3])

        assert first == 4
        assert isinstance(second, Conflict)

    async def test_one_bad_request_does_not_fail_the_others(self, work: Work) -> None:
        work.poison = 10
        async with Coalescer(work) as coalescer:
            results = await outcomes(coalescer, range(0, 32, 2))

        assert [isinstance(result, Poison) for result in results].count(True) == 1
        assert isinstance(results[5], Poison)
        assert results[6] == 24

    async def test_a_passing_fault_is_everyones_and_is_not_tried_again(self, work: Work) -> None:
        work.failure = asyncpg.CannotConnectNowError("starting up")
        async with Coalescer(work) as coalescer:
            results = await outcomes(coalescer, [2, 4, 6])

        assert all(isinstance(result, asyncpg.CannotConnectNowError) for result in results)
        assert work.batches == [[2, 4, 6]]

    async def test_a_failed_batch_leaves_the_coalescer_working(self, work: Work) -> None:
        work.failure = Poison()
        async with Coalescer(work) as coalescer:
            await outcomes(coalescer, [2])
            work.failure = None

            assert await coalescer.submit(2) == 4

    async def test_a_wrong_number_of_results_is_never_handed_out(self) -> None:
        async def lose_one(requests: Sequence[int]) -> Sequence[int | Exception]:
            return list(requests)[1:]

        async with Coalescer(lose_one) as coalescer:
            results = await outcomes(coalescer, [2, 4])

        assert all(isinstance(result, BatchMismatch) for result in results)


class TestLoad:
    async def test_a_full_queue_refuses_at_once(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=1, queue_max=2) as coalescer:
            work.hold()
            async with submitted(coalescer, [2]), submitted(coalescer, [4, 6]):
                with pytest.raises(Unavailable):
                    await coalescer.submit(8)
                work.release()

        assert work.batches == [[2], [4, 6]]


class TestCancellation:
    async def test_of_a_request_does_not_cancel_its_batch(self, work: Work) -> None:
        async with Coalescer(work) as coalescer:
            work.hold()
            async with submitted(coalescer, [2, 4]) as tasks:
                tasks[0].cancel()
                await turns()
                work.release()

        assert work.batches == [[2, 4]]
        assert tasks[1].result() == 8

    async def test_before_the_batch_starts_leaves_the_request_out(self, work: Work) -> None:
        async with Coalescer(work, in_flight_max=1) as coalescer:
            work.hold()
            async with submitted(coalescer, [2]), submitted(coalescer, [4, 6]) as tasks:
                tasks[0].cancel()
                await turns()
                work.release()

        assert work.batches == [[2], [6]]

    async def test_batches_run_in_the_context_of_no_request(self, work: Work) -> None:
        async with Coalescer(work) as coalescer:
            who.set("a storefront")
            await coalescer.submit(2)

        assert work.contexts == ["nobody"]


class TestStop:
    async def test_carries_out_what_is_queued(self, work: Work) -> None:
        coalescer = Coalescer(work, in_flight_max=1, delay_seconds_max=3600)
        async with asyncio.TaskGroup() as group, coalescer:
            work.hold()
            tasks = [group.create_task(coalescer.submit(2))]
            await turns()
            tasks += [group.create_task(coalescer.submit(request)) for request in (4, 6)]
            await turns()
            work.release()

        assert [task.result() for task in tasks] == [4, 8, 12]

    async def test_refuses_what_comes_later(self, work: Work) -> None:
        async with Coalescer(work) as coalescer:
            pass

        with pytest.raises(Unavailable):
            await coalescer.submit(2)

    async def test_after_an_error_leaves_nobody_waiting(self, work: Work) -> None:
        async def crash() -> None:
            async with Coalescer(work, in_flight_max=1) as coalescer:
                work.hold()
                waiting.append(asyncio.gather(coalescer.submit(2), return_exceptions=True))
                await turns()
                waiting.append(asyncio.gather(coalescer.submit(4), return_exceptions=True))
                await turns()
                raise Poison

        waiting: list[asyncio.Future[tuple[int | BaseException]]] = []
        with pytest.raises((Poison, ExceptionGroup)):
            await crash()

        async with asyncio.timeout(60):
            results = [result for (result,) in await asyncio.gather(*waiting)]
        assert all(isinstance(result, Unavailable) for result in results)
