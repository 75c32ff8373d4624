"""The real code, broken in one place each: what shows that the simulation would notice."""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from libs.common.messaging import inbox
from libs.common.messaging.consumer import Consumer
from libs.common.outbox import relay
from services.inventory.domain.reservations import Reservation
from services.inventory.domain.stock import Level
from services.inventory.handlers import holds, order_events, transfers
from services.inventory.handlers.desk import Desk
from services.logistics.handlers import planning
from services.orders.domain import held_edits, interventions, moves, remainders
from services.orders.handlers import payments, review
from services.orders.handlers.deadlines import DeadlineWatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """A function (or a property) with one piece of its source replaced; it is run only `where` people have a habit."""

    name: str
    target: Any
    old: str
    new: str
    where: str | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """
        Run a block with the broken code.

        :raises ValueError: if the source has changed so that there is nothing to replace.
        """
        target: Any = self.target
        function: Any = target.fget if isinstance(target, property) else target
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: the code to break is not there any more")
        namespace: dict[str, Any] = {}
        broken = source.replace("@property\n", "").replace(self.old, self.new)
        exec(compile(broken, self.name, "exec"), function.__globals__, namespace)  # noqa: S102 - our own source
        sound = function.__code__
        function.__code__ = namespace[function.__name__].__code__
        try:
            yield
        finally:
            function.__code__ = sound


_ALL_OFFSETS: Final = "{partition: rows[-1].offset + 1 for partition, rows in fetched.items()}"
_ANOTHER_KEY: Final = (
    "[__import__('dataclasses').replace(one, id=__import__('uuid').uuid5(one.id, str(one.attempts))) for one in to_try]"
)

MUTANTS: Final = (
    Mutant(
        "the relay's floor passes transactions that are under way",
        relay._Floor.rise,  # noqa: SLF001 - what is broken here
        "if oldest_running >= self.horizon:",
        "if True:",
    ),
    Mutant(
        "the relay deletes before it publishes",
        relay.Relay._relay_batch,  # noqa: SLF001
        "published, left = await self._publish(claimed)",
        "await connection.execute(_DELETE, [one.id for one in claimed])\n"
        "    published, left = await self._publish(claimed)",
    ),
    Mutant(
        "the relay publishes the beginning of a bundle",
        relay._claimed,  # noqa: SLF001
        "records_of(topic, key, headers, value)",
        "records_of(topic, key, headers, value)[:1]",
    ),
    Mutant(
        "the consumer commits its offsets before the database",
        Consumer._handle,  # noqa: SLF001
        "if not await self._process(",
        f"await self._commit(consumer, {_ALL_OFFSETS})\n    if not await self._process(",
    ),
    Mutant(
        "the inbox drops nothing",
        inbox.claim_new,
        "    fresh = []\n",
        "    return list(envelopes)\n    fresh = []\n",
    ),
    Mutant(
        "what kills its consumers is tried for ever",
        Consumer._handle_alone,  # noqa: SLF001
        "mark.attempts >= DEATHS_MAX",
        "mark.attempts >= 1000",
    ),
    Mutant(
        "whoever dies at all is blamed on the record",
        Consumer._handle_alone,  # noqa: SLF001
        "mark.attempts >= DEATHS_MAX",
        "True",
    ),
    Mutant(
        "the consumer gives up what failed for the moment",
        Consumer._apply_when_possible,  # noqa: SLF001
        "if not is_transient(error):",
        "if is_transient(error):\n                return {}\n            if True:",
    ),
    Mutant(
        "a shipment is booked as often as it is told",
        order_events.apply_order_events,
        "await tools.stock.recorded(booked_ids) if booked_ids else set[UUID]()",
        "set[UUID]()",
    ),
    Mutant(
        "a reservation keeps what it lets go of",
        Reservation._let_go,  # noqa: SLF001
        "self.lines[key].quantity = self.lines[key].committed",
        "pass",
    ),
    Mutant(
        "what is reserved is promised again",
        inspect.getattr_static(Level, "available"),
        "self.on_hand - self.reserved - self.blocked",
        "self.on_hand - self.blocked",
    ),
    Mutant(
        "a payment step is tried again under another key",
        payments.PaymentExecutor._ask,  # noqa: SLF001
        "results = await self._gateway.execute(to_try)",
        f"results = await self._gateway.execute({_ANOTHER_KEY})",
    ),
    Mutant(
        "an unknown outcome counts as a refusal",
        inspect.getattr_static(payments._Answered, "is_unknown"),  # noqa: SLF001
        "self.result is not None and self.result.outcome is PaymentOutcome.UNKNOWN",
        "False",
    ),
    Mutant(
        "money that was held too late is kept",
        moves.authorise,
        "        _let_go(draft)\n",
        "        pass\n",
    ),
    Mutant(
        "a deadline that has passed means nothing",
        DeadlineWatch._fire,  # noqa: SLF001
        "answer = saga.apply(order_id, DeadlinePassed(timer))",
        "answer = Answer.IGNORE",
    ),
    Mutant(
        "orders of one customer do not wait for each other's review",
        review._histories,  # noqa: SLF001
        "    if needs.counts:\n",
        "    if False:\n",
        where="reviews",
    ),
    Mutant(
        "the rest of an order is sent and not charged",
        moves.charge_remainder,
        "        _charge(draft, parcel, min(value_minor, _uncharged_minor(state)))\n",
        "        pass\n",
        where="shortages",
    ),
    Mutant(
        "what an order leaves to its rest is nobody's",
        Desk.divide,
        "remainder.hold(origin.part_with(remainder.wanted, keeps))",
        "origin.part_with(remainder.wanted, keeps)",
        where="shortages",
    ),
    Mutant(
        "money goes back before it has come",
        moves._give_back,  # noqa: SLF001
        "if amount_minor <= _refundable_minor(draft.state):",
        "if True:",
        where="returns",
    ),
    Mutant(
        "an exchange that fails is not paid back",
        remainders.tell_ended,
        "and facts.origin.prepaid_minor:",
        "and False:",
        where="returns",
    ),
    Mutant(
        "an order is edited while its parcels leave",
        held_edits.go_on,
        "if not _are_parcels_stopped(state):",
        "if False:",
        where="edits",
    ),
    Mutant(
        "what an edit makes cheaper is held for good",
        moves.keep_what_it_costs,
        "if surplus > 0:",
        "if False:",
        where="edits",
    ),
    Mutant(
        "parcels are stopped although one has left",
        planning._cancel,  # noqa: SLF001
        "if any(shipment.status is not Status.PLANNED for shipment in shipments):",
        "if False:",
    ),
    Mutant(
        "a hold keeps what an order takes over",
        Reservation.hand_over,
        "line.quantity -= units",
        "pass",
        where="holds",
    ),
    Mutant(
        "holds do not expire",
        holds.expire_holds,
        "    if not ids:\n",
        "    if True:\n",
        where="holds",
    ),
    Mutant(
        "a transfer that is called off keeps its units",
        transfers._let_go,  # noqa: SLF001
        "desk.stock.hold(-units, sku=sku, warehouse=source)",
        "pass",
        where="transfers",
    ),
    Mutant(
        "orders hold what is lost",
        Desk._unreserve_overdrawn,  # noqa: SLF001
        "for sku, warehouse in self.stock.overdrawn():",
        "for sku, warehouse in []:",
        where="losses",
    ),
    Mutant(
        "an order that a person ends is sent all the same",
        interventions.compensate,
        "if state.warehouses and state.status in _PARCELS_PLANNED:",
        "if False:",
        where="operators",
    ),
    Mutant(
        "a lost parcel is given up and not paid back",
        moves.give_up_parcel,
        "    elif message.refund_minor:\n",
        "    elif False:\n",
        where="lost_parcels",
    ),
)
