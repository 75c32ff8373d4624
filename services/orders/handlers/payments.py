"""
Carries out what orders ask of the payment provider: claim, call, apply.

The call happens outside any transaction. A crash anywhere leaves a command whose outcome is unknown and whose
lease ends; whoever claims it next asks the provider by the command's key before anything else. The key is the
same for ever, so a step happens at most once however often it is tried.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.clock import Clock
from libs.common.failpoints import Failpoint, failpoints
from services.orders import metrics
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import is_payment_wanted
from services.orders.domain.order import SANDBOX_PROVIDER
from services.orders.domain.state import StepKind
from services.orders.handlers.fulfilment import Addressed, Policy, advance_orders
from services.orders.handlers.ports import (
    PaymentCommand,
    PaymentGateway,
    PaymentOutcome,
    PaymentResult,
    Unit,
    Units,
)

_COMMANDS_MAX = 200
# Longer than any call may take, so that two executors never ask for the same thing at the same time.
_LEASE = timedelta(seconds=60)
_POLL_SECONDS = 0.03
_RETRY_SECONDS_MIN = 0.2
_RETRY_SECONDS_MAX = 60.0

_WITHDRAWN = "withdrawn"
_UNKNOWN: Final = PaymentResult(PaymentOutcome.UNKNOWN)
_SUCCEEDED: Final[Mapping[StepKind, Callable[[UUID, str], on.StepResult]]] = {
    StepKind.AUTHORISE: on.AuthorisationSucceeded,
    StepKind.CAPTURE: on.CaptureSucceeded,
    StepKind.VOID: on.VoidSucceeded,
    StepKind.REFUND: on.RefundSucceeded,
}
_DECLINED: Final[Mapping[StepKind, Callable[[UUID, str], on.StepResult]]] = {
    StepKind.AUTHORISE: on.AuthorisationDeclined,
    StepKind.CAPTURE: on.CaptureDeclined,
    StepKind.VOID: on.VoidDeclined,
    StepKind.REFUND: on.RefundDeclined,
}


@dataclass(frozen=True, slots=True)
class _Answered:
    """A command and what is known of it; no result means that the provider need not be asked any more."""

    command: PaymentCommand
    result: PaymentResult | None

    @property
    def is_unknown(self) -> bool:
        return self.result is not None and self.result.outcome is PaymentOutcome.UNKNOWN

    @property
    def outcome(self) -> str:
        return _WITHDRAWN if self.result is None else self.result.outcome


class PaymentExecutor:
    """One executor of payment commands; any number may run, each command belongs to one at a time."""

    def __init__(
        self,
        units: Units,
        gateway: PaymentGateway,
        *,
        policy: Policy,
        clock: Clock,
        provider: str = SANDBOX_PROVIDER,
        visible_after: timedelta = timedelta(0),
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """
        Nothing happens before `work`; `poll_seconds` is how long it waits when nothing is due.

        `visible_after` is for how long the provider may still answer that it does not know a command which it is
        carrying out or has carried out.
        """
        self._units = units
        self._gateway = gateway
        self._policy = policy
        self._clock = clock
        self._provider = provider
        self._visible_after = visible_after
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for commands now; called after a commit in the same process."""
        self._wake.set()

    async def work(self) -> int:
        """Carry out what is due and return how much that was; if nothing is, wait a moment for a wake-up first."""
        self._wake.clear()
        claimed = await self._units.run(self._claim)
        if not claimed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            return 0
        if failpoints.armed:
            await failpoints.reach(Failpoint.PAYMENTS_BEFORE_CALL, self._provider, *_kinds(claimed))
        answered = await self._ask(claimed)
        if failpoints.armed:
            await failpoints.reach(Failpoint.PAYMENTS_AFTER_CALL, self._provider, *_kinds(claimed))
        await self._units.run(lambda unit: self._apply(answered, unit))
        return len(claimed)

    async def _claim(self, unit: Unit) -> Sequence[PaymentCommand]:
        now = self._clock.now()
        return await unit.payments.claim(
            provider=self._provider, now=now, leased_until=now + _LEASE, limit=_COMMANDS_MAX
        )

    async def _ask(self, claimed: Sequence[PaymentCommand]) -> list[_Answered]:
        in_doubt = [command for command in claimed if command.attempts > 1]
        answered: list[_Answered] = []
        untried = [command for command in claimed if command.attempts == 1]
        if in_doubt:
            for command, result in zip(in_doubt, await self._gateway.query(in_doubt), strict=True):
                if result.outcome is PaymentOutcome.NOT_FOUND:
                    untried.append(command)
                else:
                    answered.append(_Answered(command, result))
        to_try = [
            command
            for command in untried
            if is_payment_wanted(command.kind, command.order_status) and not command.is_given_up
        ]
        tried = {command.id for command in to_try}
        answered.extend(
            _Answered(command, _UNKNOWN if self._may_yet_appear(command) else None)
            for command in untried
            if command.id not in tried
        )
        if to_try:
            results = await self._gateway.execute(to_try)
            answered.extend(_Answered(*pair) for pair in zip(to_try, results, strict=True))
        return answered

    def _may_yet_appear(self, command: PaymentCommand) -> bool:
        # Nothing was begun since the order ended; what was begun before shows up in time, and is then let go of.
        return command.attempts > 1 and self._clock.now() < command.order_changed_at + self._visible_after

    async def _apply(self, answered: Sequence[_Answered], unit: Unit) -> None:
        now = self._clock.now()
        known = [one for one in answered if not one.is_unknown]
        messages = [Addressed(one.command.order_id, _message(one.command, one.result)) for one in known]
        if messages:
            await advance_orders(messages, unit=unit, policy=self._policy, now=now)
        # After the orders' locks, as everywhere: nobody waits for an order while holding a command.
        in_doubt = [(one.command, now + _retry_delay(one.command.attempts)) for one in answered if one.is_unknown]
        if in_doubt:
            await unit.payments.reschedule(in_doubt)
        unit.after_commit(lambda: _count(answered))


def message_of(kind: StepKind, command_id: UUID, result: PaymentResult) -> on.StepResult:
    """Return how the saga hears of a result that is certain."""
    if result.outcome is PaymentOutcome.SUCCEEDED:
        return _SUCCEEDED[kind](command_id, result.provider_reference)
    return _DECLINED[kind](command_id, result.reason)


def _message(command: PaymentCommand, result: PaymentResult | None) -> on.StepResult:
    if result is None:
        return on.AuthorisationWithdrawn(command.id)
    return message_of(command.kind, command.id, result)


def _retry_delay(attempts: int) -> timedelta:
    return timedelta(seconds=min(_RETRY_SECONDS_MIN * 2 ** min(attempts - 1, 20), _RETRY_SECONDS_MAX))


def _kinds(commands: Sequence[PaymentCommand]) -> set[str]:
    return {command.kind for command in commands}


def _count(answered: Sequence[_Answered]) -> None:
    for one in answered:
        kind = one.command.kind
        metrics.orders_payment_commands_total.labels(kind, one.outcome).inc()
        if one.command.attempts > 1 and not one.is_unknown:
            metrics.orders_payment_unknown_resolved_total.labels(kind, one.outcome).inc()
