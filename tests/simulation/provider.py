"""A stand-in for the payment provider: it remembers every key, and its answers get lost."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.orders.domain.state import StepKind
from services.orders.handlers.ports import PaymentCommand, PaymentOutcome, PaymentResult
from tests.simulation.world import Link, Process, World

_UNKNOWN = PaymentResult(PaymentOutcome.UNKNOWN)


@dataclass(slots=True)
class Charge:
    """What the provider holds or has moved for one authorisation."""

    order_id: UUID
    authorised: int
    captured: int = 0
    refunded: int = 0
    voided: int = 0


@dataclass(slots=True)
class Provider:
    """The provider's own books, which no crash of ours touches."""

    world: World
    declines: float = 0.0
    charges: dict[str, Charge] = field(default_factory=dict)
    done: dict[UUID, PaymentResult] = field(default_factory=dict)

    def carry_out(self, command: PaymentCommand) -> PaymentResult:
        """Do what a key asks for, once."""
        known = self.done.get(command.id)
        if known is None:
            known = self.done[command.id] = self._decide(command)
        return known

    def _decide(self, command: PaymentCommand) -> PaymentResult:
        if command.kind is StepKind.AUTHORISE:
            if self.world.chance.random() < self.declines:
                return PaymentResult(PaymentOutcome.DECLINED, reason="card-declined")
            reference = f"charge-{command.id}"
            self.charges[reference] = Charge(command.order_id, command.amount_minor)
            return PaymentResult(PaymentOutcome.SUCCEEDED, reference)
        charge = self.charges.get(command.reference or "")
        if charge is None:
            return PaymentResult(PaymentOutcome.DECLINED, reason="unknown-authorisation")
        held = charge.authorised - charge.captured - charge.voided
        amount = command.amount_minor
        match command.kind:
            case StepKind.CAPTURE if amount <= held:
                charge.captured += amount
            case StepKind.VOID if amount <= held:
                charge.voided += amount
            case StepKind.REFUND if amount <= charge.captured - charge.refunded:
                charge.refunded += amount
            case _:
                return PaymentResult(PaymentOutcome.DECLINED, reason="amount-not-available")
        return PaymentResult(PaymentOutcome.SUCCEEDED, command.reference or "")


class ProviderClient:
    """A `PaymentGateway` of one process: what does not come back is unknown, and may have happened."""

    def __init__(self, provider: Provider, process: Process) -> None:
        """Connect nothing."""
        self._provider = provider
        self._process = process

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Carry out commands (see `PaymentGateway.execute`)."""
        return [await self._one(command, is_query=False) for command in commands]

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Ask what became of commands (see `PaymentGateway.query`)."""
        return [await self._one(command, is_query=True) for command in commands]

    async def _one(self, command: PaymentCommand, *, is_query: bool) -> PaymentResult:
        world = self._provider.world
        try:
            await self._process.awaits(Link.PROVIDER)
            if is_query:
                result = self._provider.done.get(command.id, PaymentResult(PaymentOutcome.NOT_FOUND))
            else:
                result = self._provider.carry_out(command)
            if world.chance.random() < world.rates.lost_answer * 5:
                world.meet("payment happened without an answer")
                return _UNKNOWN
            await self._process.awaits(Link.PROVIDER)
        except ConnectionResetError:
            return _UNKNOWN
        return result
