"""What the routes work with: transactions, the coalescer of placements, and the follower of orders."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Annotated, Final, Self, TypeVar, cast
from uuid import UUID

from fastapi import Depends
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.errors import DomainError
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
    write_once,
)
from libs.common.pacing import WorkPace
from services.orders.api.following import OrderFollower
from services.orders.api.order_body import render_order
from services.orders.domain.erasure import CustomerIsErased
from services.orders.domain.order import NewOrder, PaymentTerms
from services.orders.domain.shortage import ShortagePolicy
from services.orders.handlers.erasures import ErasedCustomers
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.imports import ReferenceReused
from services.orders.handlers.notices import NoticeReader
from services.orders.handlers.placement import place_orders
from services.orders.handlers.ports import ImportRow, KnownImport, Unit
from services.orders.handlers.prices import PriceCheck
from services.orders.handlers.review import Reviewing
from services.orders.handlers.settlement import ProviderBooks

Result = TypeVar("Result")

# A transaction costs as much as a dozen of its orders: beside one that is under way the next one gathers, and after a
# few orders it rests for as long as they took.
_GATHER_SECONDS: Final = 0.01
_PACE: Final = WorkPace(share_max=0.3, rest_seconds_max=0.06, items_plenty=16)


@dataclass(frozen=True, slots=True)
class Placement:
    """An order to be placed, and the key under which it is placed once."""

    write: KeyedWrite
    order: NewOrder
    # Of one with a reference, which is placed once by that as well.
    content_hash: bytes | None = None

    @property
    def reference_key(self) -> tuple[str, str] | None:
        """What the order is placed once by, besides its key."""
        return None if self.content_hash is None else (self.order.facts.channel, self.order.facts.reference or "")


_Claimed = tuple[Claim, Placement]


@dataclass(kw_only=True)
class Backend:
    """The adapters behind the routes; `async with` starts and drains the coalescer."""

    database: Database
    bind: Callable[[Transaction], Unit]
    policy: Policy
    reviewing: Reviewing
    price_check: PriceCheck
    clock: Clock
    follow_poll_seconds: float
    event_age_max: timedelta
    shortage_policy: ShortagePolicy
    # The methods of payment that the shop takes, and how each is carried out.
    payment_methods: Mapping[str, PaymentTerms]
    notice_readers: Mapping[str, NoticeReader]
    provider_books: Mapping[str, ProviderBooks]
    # Nothing is taken in about them.
    erased: ErasedCustomers
    placements: Coalescer[Placement, StoredResponse] = field(init=False)
    follower: OrderFollower = field(init=False)
    _stack: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        """Put the parts together; nothing runs yet."""
        self.placements = Coalescer(self._place_batch, delay_seconds_max=_GATHER_SECONDS, pace=_PACE)
        self.follower = OrderFollower(
            lambda order_ids: self.run(lambda unit: unit.views.progress(order_ids)),
            poll_seconds=self.follow_poll_seconds,
        )

    async def __aenter__(self) -> Self:
        """Accept placements."""
        await self._stack.enter_async_context(self.placements)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Carry out what was accepted."""
        await self._stack.__aexit__(kind, error, traceback)

    async def run(self, work: Callable[[Unit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction."""
        return await self.database.run(lambda transaction: work(self.bind(transaction)))

    async def write(self, write: KeyedWrite, effect: Callable[[Unit], Awaitable[StoredResponse]]) -> StoredResponse:
        """Run `effect` in one transaction, once for each key."""
        return await write_once(
            self.database, write, lambda transaction: effect(self.bind(transaction)), now=self.clock.now()
        )

    async def _place_batch(self, placements: Sequence[Placement]) -> Sequence[StoredResponse | Exception]:
        return await self.database.run(lambda transaction: self._place(placements, transaction))

    async def _place(
        self, placements: Sequence[Placement], transaction: Transaction
    ) -> list[StoredResponse | Exception]:
        now = self.clock.now()
        outcomes = await claim_batch(transaction, [one.write for one in placements], now=now)
        claims = [(outcome, one) for outcome, one in zip(outcomes, placements, strict=True)
                  if isinstance(outcome, Claim)]  # fmt: skip
        answers: dict[KeyedWrite, StoredResponse | DomainError] = {}
        if claims:
            unit = self.bind(transaction)
            results: list[tuple[Claim, StoredResponse | DomainError]] = [
                (claim, CustomerIsErased()) for claim, one in claims if one.order.facts.customer_id in self.erased
            ]
            if results:
                claims = [(claim, one) for claim, one in claims if one.order.facts.customer_id not in self.erased]
            while claims:
                turn, claims = _one_of_each_reference(claims)
                results.extend(await self._place_distinct(turn, unit=unit, now=now))
            answers.update((claim.write, result) for claim, result in results)
            store_batch(transaction, [(claim, one) for claim, one in results if isinstance(one, StoredResponse)])
            unclaim_batch(transaction, [claim for claim, one in results if not isinstance(one, StoredResponse)])
        return [_answer(outcome, one.write, answers) for outcome, one in zip(outcomes, placements, strict=True)]

    async def _place_distinct(
        self, claims: Sequence[_Claimed], *, unit: Unit, now: datetime
    ) -> list[tuple[Claim, StoredResponse | DomainError]]:
        """Place orders, no two of one reference; one that is there under its reference is answered with that."""
        rows = [ImportRow(one.order, one.content_hash) for _, one in claims if one.content_hash is not None]
        results: list[tuple[Claim, StoredResponse | DomainError]] = []
        if rows:
            found = zip(rows, await unit.imports.claim(rows, now=now), strict=True)
            known = {row.order.id: (row, one) for row, one in found if one is not None}
            if known:
                met = [(claim, known[one.order.id]) for claim, one in claims if one.order.id in known]
                results = [(claim, await _answer_again(row, one, unit)) for claim, (row, one) in met]
                claims = [each for each in claims if each[1].order.id not in known]
        checked = await self.price_check.check(
            [one.order for _, one in claims], prices=unit.prices, promotions=unit.promotions, now=now
        )
        accepted: list[tuple[Claim, NewOrder]] = []
        unplaced: list[UUID] = []
        for (claim, placement), outcome in zip(claims, checked, strict=True):
            if isinstance(outcome, NewOrder):
                accepted.append((claim, outcome))
            else:
                results.append((claim, outcome))
                if placement.content_hash is not None:
                    unplaced.append(placement.order.id)
        if unplaced:
            await unit.imports.unclaim(unplaced)
        views = await place_orders(
            [order for _, order in accepted], unit=unit, reviewing=self.reviewing, policy=self.policy, now=now
        )
        results.extend(
            (claim, StoredResponse(HTTPStatus.CREATED, render_order(view)))
            for (claim, _), view in zip(accepted, views, strict=True)
        )
        return results


def _one_of_each_reference(claims: list[_Claimed]) -> tuple[list[_Claimed], list[_Claimed]]:
    """Take the first order of each reference, and leave the others: each meets what became of the one before."""
    keys = [one.reference_key for _, one in claims]
    if len({key for key in keys if key is not None}) == len(keys) - keys.count(None):
        return claims, []
    seen: set[tuple[str, str]] = set()
    first: list[_Claimed] = []
    later: list[_Claimed] = []
    for key, claim in zip(keys, claims, strict=True):
        (first if key is None or key not in seen else later).append(claim)
        if key is not None:
            seen.add(key)
    return first, later


async def _answer_again(row: ImportRow, known: KnownImport, unit: Unit) -> StoredResponse | DomainError:
    """Answer with the order that has the reference if it is this one."""
    view = await unit.views.find(known.order_id) if known.content_hash == row.content_hash else None
    return ReferenceReused(known.order_id) if view is None else StoredResponse(HTTPStatus.OK, render_order(view))


def _answer(
    outcome: ClaimOutcome,
    write: KeyedWrite,
    answers: dict[KeyedWrite, StoredResponse | DomainError],
) -> StoredResponse | Exception:
    if isinstance(outcome, Claim):
        return answers[outcome.write]
    if isinstance(outcome, KeyInProgress) and write in answers:
        # Its twin is in this very batch, so there is nothing to wait for.
        answer = answers[write]
        return replace(answer, replayed=True) if isinstance(answer, StoredResponse) else answer
    return outcome


# Not a plain function: FastAPI would call it in a thread, for every request.
async def _backend_of(request: Request) -> Backend:
    return cast("Backend", request.app.state.backend)


BackendOfApp = Annotated[Backend, Depends(_backend_of)]
