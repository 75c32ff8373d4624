"""Forgetting customers: asked for once, carried out here and then by every other service, whose answers are counted."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar
from uuid import UUID

from libs.common.clock import Clock
from libs.common.events.customers import CustomerErased, CustomerErasureRequested
from libs.common.events.outbox import Outbox
from libs.common.ids import new_id
from libs.common.privacy import Pseudonyms
from libs.common.telemetry.logs import get_logger
from services.orders.domain.erasure import (
    CustomerIsErased,
    Erasure,
    ErasureNotFound,
    ErasureStatus,
    Holdup,
    parts,
)

Result = TypeVar("Result")

# Those who came back while some process had not heard yet that they were erased.
_STRAYS_LOOKED_FOR: Final = timedelta(hours=1)
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = get_logger(__name__)


class Erasures(Protocol):
    """The register, in one transaction."""

    async def request(self, erasure: Erasure) -> None:
        """Enter an erasure; one that is there is asked for again if there is something new to erase."""
        ...

    async def find(self, customer: str) -> Erasure | None:
        """Return the erasure of a pseudonym, with its answers and with what holds it up."""
        ...

    async def page(self, *, status: ErasureStatus | None, before_id: UUID | None, limit: int) -> Sequence[Erasure]:
        """Return erasures likewise, newest first."""
        ...

    async def take(self, *, requested_before: datetime, passed_over: Sequence[UUID]) -> Erasure | None:
        """Lock and return an erasure that is to be carried out and that nobody else has."""
        ...

    async def holdups(self, erasure: Erasure) -> Sequence[Holdup]:
        """Return what of the customer's orders is not over yet, a hundred at most."""
        ...

    async def erase(self, erasure: Erasure) -> tuple[Sequence[UUID], Sequence[UUID], int]:
        """Replace a person in every table; return their orders, the holds that became orders, and the rows of it."""
        ...

    async def spread(
        self, erasure: Erasure, *, order_ids: Sequence[UUID], part_ids: Sequence[UUID], rows: int, now: datetime
    ) -> None:
        """Note that this service is done, and that every other service has to answer every part; forget the id."""
        ...

    async def note_answers(self, answers: Sequence[tuple[UUID, str, int]], *, now: datetime) -> int:
        """Note parts that services have erased, with the rows; return how many erasures are done by that."""
        ...

    async def registered_since(self, since: datetime) -> Sequence[str]:
        """Return the pseudonyms of erasures that were requested since then, and shortly before."""
        ...

    async def customers_since(self, since: datetime) -> Sequence[str]:
        """Return the ids of customers of whom something was written since then."""
        ...

    async def ask_again(self, customers: Mapping[str, str | None], *, is_anew: bool) -> int:
        """Have erasures carried out again, those that are done or, anew, all; the values are ids that came back."""
        ...

    async def restore(
        self, erasure_id: UUID, *, customer: str, visitors: Sequence[str], order_ids: Sequence[UUID], now: datetime
    ) -> None:
        """Enter an erasure that a restore has lost, or complete one that is there."""
        ...


class ErasureUnit(Protocol):
    """What an erasure reaches in one transaction."""

    @property
    def erasures(self) -> Erasures:
        """The register."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The outbox."""
        ...


class ErasureUnits(Protocol):
    """Opens transactions."""

    async def run(self, work: Callable[[ErasureUnit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction."""
        ...


async def request_erasure(
    customer_id: str,
    *,
    visitor_ids: Sequence[str],
    reason: str,
    requested_by: str,
    erasures: Erasures,
    pseudonyms: Pseudonyms,
    now: datetime,
) -> Erasure:
    """Ask that a customer be forgotten; asked again, it is the same erasure."""
    customer = pseudonyms.of(customer_id)
    await erasures.request(
        Erasure(
            id=new_id(),
            customer=customer,
            customer_id=customer_id,
            visitors=sorted({pseudonyms.of(one) for one in visitor_ids}),
            order_ids=(),
            status=ErasureStatus.REQUESTED,
            reason=reason,
            requested_at=now,
            requested_by=requested_by,
        )
    )
    return await find_erasure(customer, erasures=erasures)


async def find_erasure(customer: str, *, erasures: Erasures) -> Erasure:
    """
    Return an erasure by the customer's pseudonym.

    :raises ErasureNotFound: if nobody has asked for it.
    """
    found = await erasures.find(customer)
    if found is None:
        raise ErasureNotFound
    return found


async def note_answers(events: Sequence[CustomerErased], *, erasures: Erasures, now: datetime) -> None:
    """Note what services have erased."""
    await erasures.note_answers([(one.part_id, one.service, one.rows) for one in events], now=now)


class ErasedCustomers:
    """A copy of the register, so that asking for it costs an order nothing."""

    def __init__(self, units: ErasureUnits, *, pseudonyms: Pseudonyms, clock: Clock) -> None:
        """Know nobody before `refresh`."""
        self._units = units
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._known: set[str] = set()
        self._since = _EVER

    async def refresh(self) -> int:
        """Learn who was entered meanwhile; return 0, for nobody has to hurry."""
        asked_at = self._clock.now()
        since = self._since
        self._known.update(await self._units.run(lambda unit: unit.erasures.registered_since(since)))
        self._since = asked_at
        return 0

    def __contains__(self, customer_id: str) -> bool:
        """Tell whether a customer was erased, or is about to be."""
        return bool(self._known) and self._pseudonyms.of(customer_id) in self._known

    def check(self, customer_id: str) -> None:
        """
        Refuse what is about a customer who was erased.

        :raises CustomerIsErased: if that is so.
        """
        if customer_id in self:
            raise CustomerIsErased


class Eraser:
    """Carries erasures out: one at a time, each in one transaction with what tells the other services."""

    def __init__(
        self,
        units: ErasureUnits,
        *,
        pseudonyms: Pseudonyms,
        clock: Clock,
        delay: timedelta,
        is_transient: Callable[[BaseException], bool],
    ) -> None:
        """Wait for `delay` first, longer than copies of the register are old."""
        self._is_transient = is_transient
        self._units = units
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._delay = delay

    async def work(self) -> int:
        """
        Carry out what nothing holds up; return how many that was.

        One that fails is tried again with the next call; others, and what else the process does, go on.
        """
        passed_over: list[UUID] = []
        done = 0
        while True:
            taken: list[UUID] = []
            try:
                is_erased = await self._units.run(lambda unit: self._next(unit, passed_over, taken))  # noqa: B023
            except Exception as error:
                if self._is_transient(error) or not taken:
                    raise
                log.exception("erasure.failed", erasure=str(taken[0]))
                is_erased = False
            if not taken:
                return done
            done += is_erased
            passed_over.append(taken[0])

    async def _next(self, unit: ErasureUnit, passed_over: Sequence[UUID], taken: list[UUID]) -> bool:
        now = self._clock.now()
        erasure = await unit.erasures.take(requested_before=now - self._delay, passed_over=passed_over)
        if erasure is None:
            return False
        taken[:] = [erasure.id]
        if await unit.erasures.holdups(erasure):
            return False
        await self._erase(erasure, unit, now)
        return True

    async def _erase(self, erasure: Erasure, unit: ErasureUnit, now: datetime) -> None:
        order_ids, hold_ids, rows = await unit.erasures.erase(erasure)
        everything = {*erasure.order_ids, *order_ids, *hold_ids}
        requests = [
            CustomerErasureRequested(
                erasure_id=erasure.id,
                part_id=new_id(),
                customer=erasure.customer,
                visitors=list(erasure.visitors),
                order_ids=part,
            )
            for part in parts(everything)
        ]
        for request in requests:
            unit.outbox.add(request)
        part_ids = [request.part_id for request in requests]
        await unit.erasures.spread(erasure, order_ids=sorted(everything), part_ids=part_ids, rows=rows, now=now)
        log.info("erasure.spread", erasure=str(erasure.id), orders=len(order_ids), rows=rows)

    async def find_strays(self) -> int:
        """Have those erased again who came back while a copy of the register was old; return 0."""
        await self.erase_who_came_back(since=self._clock.now() - _STRAYS_LOOKED_FOR)
        return 0

    async def erase_who_came_back(self, *, since: datetime) -> int:
        """Ask again for the erasure of whoever is here since then though erased; return how many that are."""

        async def work(unit: ErasureUnit) -> int:
            registered = set(await unit.erasures.registered_since(_EVER))
            if not registered:
                return 0
            here = await unit.erasures.customers_since(since)
            found: dict[str, str | None] = {self._pseudonyms.of(one): one for one in here}
            strays = {customer: found[customer] for customer in found.keys() & registered}
            return await unit.erasures.ask_again(strays, is_anew=False) if strays else 0

        return await self._units.run(work)


async def restore_register(
    requests: Sequence[CustomerErasureRequested], *, units: ErasureUnits, pseudonyms: Pseudonyms, now: datetime
) -> int:
    """
    Hold a restored database against the register on the bus, and have everybody in it erased again, in every service.

    Return how many that are.
    """

    async def work(unit: ErasureUnit) -> int:
        for request in requests:
            await unit.erasures.restore(
                request.erasure_id,
                customer=request.customer,
                visitors=request.visitors,
                order_ids=request.order_ids,
                now=now,
            )
        here = {pseudonyms.of(one): one for one in await unit.erasures.customers_since(_EVER)}
        everybody = await unit.erasures.registered_since(_EVER)
        return await unit.erasures.ask_again({one: here.get(one) for one in everybody}, is_anew=True)

    return await units.run(work)
