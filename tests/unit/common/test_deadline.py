"""Waiting for work that may hang."""

import asyncio

import pytest

from libs.common.deadline import within


async def returns(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def fails() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


class TestWork:
    async def test_is_answered(self) -> None:
        assert await within(60, returns(7)) == 7

    async def test_may_fail(self) -> None:
        with pytest.raises(ZeroDivisionError):
            await within(60, fails())

    async def test_ends_when_it_takes_too_long(self) -> None:
        ended = asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        with pytest.raises(TimeoutError):
            await within(0.01, hang())
        assert ended.is_set()


class TestCancellation:
    async def test_ends_the_work(self) -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        waiting = asyncio.create_task(within(60, hang()))  # noqa: TID251 - cancelled here
        await begun.wait()
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended.is_set()

    async def test_counts_in_the_moment_in_which_the_work_ends(self) -> None:
        done = asyncio.get_running_loop().create_future()

        async def work() -> None:
            await done
            # Whoever waits has not been told yet.
            waiting.cancel()

        waiting = asyncio.create_task(within(60, work()))  # noqa: TID251 - cancelled here
        await asyncio.sleep(0)
        done.set_result(None)

        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def test_counts_though_the_work_swallows_it(self) -> None:
        begun = asyncio.Event()

        async def close() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

        waiting = asyncio.create_task(within(60, close()))  # noqa: TID251 - cancelled here
        await begun.wait()
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
