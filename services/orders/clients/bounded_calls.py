"""Calls to a payment provider that does not answer in time, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from libs.common.telemetry.logs import get_logger
from services.orders.handlers.ports import PaymentCommand, PaymentOutcome, PaymentResult

Ask = Callable[[PaymentCommand], Awaitable[PaymentResult]]

_UNKNOWN: Final = PaymentResult(PaymentOutcome.UNKNOWN)

log = get_logger(__name__)


class BoundedCalls:
    """The calls to one provider: so many at a time, and none waited for longer than `answer_within`."""

    def __init__(self, provider: str, *, calls_max: int, answer_within: timedelta) -> None:
        """Call nobody yet; the log names `provider`."""
        self._provider = provider
        self._slots = asyncio.Semaphore(calls_max)
        self._answer_within = answer_within

    async def ask_all(self, commands: Sequence[PaymentCommand], ask: Ask) -> list[PaymentResult]:
        """Ask about each command; what has no answer by then is unknown."""
        results = [_UNKNOWN] * len(commands)

        async def one(index: int, command: PaymentCommand) -> None:
            async with self._slots:
                results[index] = await ask(command)

        try:
            async with asyncio.timeout(self._answer_within.total_seconds()), asyncio.TaskGroup() as group:
                for index, command in enumerate(commands):
                    group.create_task(one(index, command))
        except TimeoutError:
            log.warning("payments.slow", provider=self._provider, commands=len(commands))
        return results
