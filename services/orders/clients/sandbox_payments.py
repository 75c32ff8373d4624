"""
The built-in payment provider: it moves no money, remembers everything, and can be told to misbehave.

Tokens: `tok_ok` works; `tok_declined` declines; `tok_timeout` authorises without answering the first time;
`tok_late` answers the authorisation only after a while; `tok_capture_timeout` captures without answering the
first time. It stands for a system of others: it has connections and tables of its own (schema `sandbox`), and
what it has done stays done whatever becomes of the caller's transactions.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from libs.common.clock import Clock
from libs.common.db import Database, Transaction, is_transient
from libs.common.telemetry.logs import get_logger
from services.orders.domain.state import StepKind
from services.orders.handlers.ports import PaymentCommand, PaymentOutcome, PaymentResult

# Two callers with one key: the second waits, and then finds what the first has done.
_TAKE_KEYS: Final = """
SELECT pg_advisory_xact_lock(hashtextextended(key::text, 0)) FROM unnest($1::uuid[]) AS key ORDER BY key
"""
_KNOWN: Final = """
SELECT key, outcome, reason, reference, answers_at FROM sandbox.sandbox_operations WHERE key = ANY($1::uuid[])
"""
_CHARGES: Final = """
SELECT reference, authorised_minor, captured_minor, refunded_minor, voided_minor
FROM sandbox.sandbox_charges WHERE reference = ANY($1::text[]) ORDER BY reference FOR UPDATE
"""
_ADD_OPERATIONS: Final = """
INSERT INTO sandbox.sandbox_operations (key, kind, amount_minor, reference, outcome, reason, answers_at, created_at)
SELECT *, $8 FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
"""
_ADD_CHARGES: Final = """
INSERT INTO sandbox.sandbox_charges (reference, token, currency, authorised_minor)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
"""
_MOVE: Final = """
UPDATE sandbox.sandbox_charges
SET captured_minor = moved.captured, refunded_minor = moved.refunded, voided_minor = moved.voided
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS moved (reference, captured, refunded, voided)
WHERE sandbox_charges.reference = moved.reference
"""

_AUTHORISING_TOKENS: Final = frozenset({"tok_ok", "tok_timeout", "tok_late", "tok_capture_timeout"})
# Which token keeps silent the first time it is asked for what.
_SILENT: Final = frozenset({("tok_timeout", StepKind.AUTHORISE), ("tok_capture_timeout", StepKind.CAPTURE)})
_LATE_TOKEN: Final = "tok_late"  # noqa: S105 - a public test token
_UNKNOWN: Final = PaymentResult(PaymentOutcome.UNKNOWN)

log = get_logger()


@dataclass(slots=True)
class _Charge:
    """What the provider holds or has moved for one authorisation."""

    authorised: int
    captured: int = 0
    refunded: int = 0
    voided: int = 0

    def move(self, kind: StepKind, amount: int) -> str:
        """Capture, void or refund; return why not, or nothing."""
        held = self.authorised - self.captured - self.voided
        match kind:
            case StepKind.CAPTURE if amount <= held:
                self.captured += amount
            case StepKind.VOID if amount <= held:
                self.voided += amount
            case StepKind.REFUND if amount <= self.captured - self.refunded:
                self.refunded += amount
            case _:
                return "amount-not-available"
        return ""


@dataclass(frozen=True, slots=True)
class _Done:
    """What the provider has decided about a command, and when it says so."""

    command: PaymentCommand
    reference: str
    reason: str
    answers_at: datetime

    @property
    def outcome(self) -> PaymentOutcome:
        return PaymentOutcome.DECLINED if self.reason else PaymentOutcome.SUCCEEDED


class SandboxPayments:
    """A `PaymentGateway` that is its own provider."""

    def __init__(self, database: Database, *, clock: Clock, late_answer_after: timedelta) -> None:
        """`database` is the provider's own: its connections are nobody else's."""
        self._database = database
        self._clock = clock
        self._late_answer_after = late_answer_after

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Carry out commands, each key once (see `PaymentGateway.execute`)."""
        return await self._answer(commands, lambda transaction: self._execute(commands, transaction))

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Say what became of commands (see `PaymentGateway.query`)."""
        return await self._answer(commands, lambda transaction: self._query(commands, transaction))

    async def _answer(
        self,
        commands: Sequence[PaymentCommand],
        work: Callable[[Transaction], Awaitable[list[PaymentResult]]],
    ) -> Sequence[PaymentResult]:
        try:
            return await self._database.run(work)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("sandbox_payments.unreachable", error=repr(error))
            return [_UNKNOWN for _ in commands]

    async def _query(self, commands: Sequence[PaymentCommand], transaction: Transaction) -> list[PaymentResult]:
        driver = await transaction.driver()
        known = await _known(driver, commands, now=self._clock.now())
        return [known.get(command.id, PaymentResult(PaymentOutcome.NOT_FOUND)) for command in commands]

    async def _execute(self, commands: Sequence[PaymentCommand], transaction: Transaction) -> list[PaymentResult]:
        now = self._clock.now()
        driver = await transaction.driver()
        await driver.fetch(_TAKE_KEYS, [command.id for command in commands])
        known = await _known(driver, commands, now=now)
        new = [command for command in commands if command.id not in known]
        references = {command.reference for command in new if command.reference is not None}
        charges = {
            row["reference"]: _Charge(*list(row.values())[1:])
            for row in await driver.fetch(_CHARGES, sorted(references))
        }
        done = [self._decide(command, charges, now) for command in new]
        await _store(driver, done, charges, now=now)
        for one in done:
            is_silent = (one.command.token, one.command.kind) in _SILENT or one.answers_at > now
            known[one.command.id] = _UNKNOWN if is_silent else PaymentResult(one.outcome, one.reference, one.reason)
        return [known[command.id] for command in commands]

    def _decide(self, command: PaymentCommand, charges: dict[str, _Charge], now: datetime) -> _Done:
        if command.kind is StepKind.AUTHORISE:
            reason = "" if command.token in _AUTHORISING_TOKENS else "card-declined"
            answers_at = now + self._late_answer_after if command.token == _LATE_TOKEN else now
            return _Done(command, f"sandbox-{command.id}", reason, answers_at)
        charge = charges.get(command.reference or "")
        reason = "unknown-authorisation" if charge is None else charge.move(command.kind, command.amount_minor)
        return _Done(command, command.reference or "", reason, now)


async def _known(
    driver: asyncpg.Connection, commands: Sequence[PaymentCommand], *, now: datetime
) -> dict[object, PaymentResult]:
    rows = await driver.fetch(_KNOWN, [command.id for command in commands])
    return {
        row["key"]: PaymentResult(PaymentOutcome(row["outcome"]), row["reference"], row["reason"])
        if row["answers_at"] <= now
        else _UNKNOWN
        for row in rows
    }


async def _store(
    driver: asyncpg.Connection, done: Sequence[_Done], charges: dict[str, _Charge], *, now: datetime
) -> None:
    await driver.execute(
        _ADD_OPERATIONS,
        [one.command.id for one in done],
        [one.command.kind.value for one in done],
        [one.command.amount_minor for one in done],
        [one.reference for one in done],
        [one.outcome.value for one in done],
        [one.reason for one in done],
        [one.answers_at for one in done],
        now,
    )
    authorised = [one for one in done if one.command.kind is StepKind.AUTHORISE and not one.reason]
    if authorised:
        await driver.execute(
            _ADD_CHARGES,
            [one.reference for one in authorised],
            [one.command.token for one in authorised],
            [one.command.currency for one in authorised],
            [one.command.amount_minor for one in authorised],
        )
    if charges:
        await driver.execute(
            _MOVE,
            list(charges),
            [charge.captured for charge in charges.values()],
            [charge.refunded for charge in charges.values()],
            [charge.voided for charge in charges.values()],
        )
