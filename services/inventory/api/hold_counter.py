"""Where commands about holds come together: concurrent requests share transactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.errors import DomainError, Unavailable
from libs.common.http.batching import Coalescer
from libs.common.http.idempotency import (
    Claim,
    ClaimOutcome,
    KeyedWrite,
    KeyInProgress,
    StoredResponse,
    claim_batch,
    store_batch,
    unclaim_batch,
)
from services.inventory import metrics
from services.inventory.api.hold_schemas import HoldResponse
from services.inventory.domain.holds import HoldPolicies
from services.inventory.handlers.holds import HoldCommand, HoldState, PlaceHold, apply_hold_commands
from services.inventory.handlers.ports import ReservationRaced, Tools

_ATTEMPTS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class KeyedCommand:
    """A command, and the key under which it is carried out once."""

    write: KeyedWrite
    command: HoldCommand


class HoldCounter:
    """Carries out commands about holds, each once, many in a transaction."""

    def __init__(
        self,
        *,
        database: Database,
        tools_of: Callable[[Transaction], Tools],
        policies: HoldPolicies,
        clock: Clock,
    ) -> None:
        """`coalescer` has to be entered before the first command is submitted."""
        self._database = database
        self._tools_of = tools_of
        self._policies = policies
        self._clock = clock
        self.coalescer: Coalescer[KeyedCommand, StoredResponse] = Coalescer(self._apply)

    async def submit(self, write: KeyedWrite, command: HoldCommand) -> StoredResponse:
        """
        Carry out a command together with whatever else is waiting.

        :raises DomainError: if it is refused.
        """
        return await self.coalescer.submit(KeyedCommand(write, command))

    async def _apply(self, batch: Sequence[KeyedCommand]) -> Sequence[StoredResponse | Exception]:
        """Carry out a batch: commands about one hold one after the other, all others together."""
        answers: dict[int, StoredResponse | Exception] = {}
        for numbers in _rounds(batch):
            answers.update(zip(numbers, await self._settle([batch[one] for one in numbers]), strict=True))
        return [answers[number] for number in range(len(batch))]

    async def _settle(self, batch: Sequence[KeyedCommand]) -> Sequence[StoredResponse | Exception]:
        for _ in range(_ATTEMPTS_MAX):
            try:
                return await self._database.run(lambda transaction: self._carry_out(batch, transaction))
            except ReservationRaced:
                # An order of one of the ids came at this moment; now it is there to be seen.
                continue
        raise Unavailable("Others are working on the same reservations.")

    async def _carry_out(
        self, batch: Sequence[KeyedCommand], transaction: Transaction
    ) -> list[StoredResponse | Exception]:
        outcomes = await claim_batch(transaction, [one.write for one in batch], now=self._clock.now())
        claims = [(outcome, one.command) for outcome, one in zip(outcomes, batch, strict=True)
                  if isinstance(outcome, Claim)]  # fmt: skip
        answers: dict[KeyedWrite, StoredResponse | DomainError] = {}
        if claims:
            desk, results = await apply_hold_commands(
                [command for _, command in claims], tools=self._tools_of(transaction), policies=self._policies
            )
            for (claim, command), result in zip(claims, results, strict=True):
                answers[claim.write] = result if isinstance(result, DomainError) else _response(command, result)
            given = [(claim, answers[claim.write]) for claim, _ in claims]
            store_batch(transaction, [(claim, one) for claim, one in given if isinstance(one, StoredResponse)])
            unclaim_batch(transaction, [claim for claim, one in given if isinstance(one, DomainError)])
            transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))
        return [_answer(outcome, one.write, answers) for outcome, one in zip(outcomes, batch, strict=True)]


def _rounds(batch: Sequence[KeyedCommand]) -> list[list[int]]:
    """Return the numbers of the commands, so that no two of a round are about the same hold."""
    rounds: list[list[int]] = []
    seen: dict[object, int] = {}
    for number, one in enumerate(batch):
        place = seen.get(one.command.reservation_id, -1) + 1
        seen[one.command.reservation_id] = place
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(number)
    return rounds


def _response(command: HoldCommand, state: HoldState) -> StoredResponse:
    status = HTTPStatus.CREATED if isinstance(command, PlaceHold) else HTTPStatus.OK
    return StoredResponse(status, HoldResponse.of(state).model_dump_json().encode())


def _answer(
    outcome: ClaimOutcome,
    write: KeyedWrite,
    answers: dict[KeyedWrite, StoredResponse | DomainError],
) -> StoredResponse | Exception:
    if isinstance(outcome, Claim):
        return answers[outcome.write]
    if isinstance(outcome, KeyInProgress) and isinstance(twin := answers.get(write), StoredResponse):
        # Its twin is in this very batch, so there is nothing to wait for.
        return replace(twin, replayed=True)
    return outcome
