"""Orders of other systems by the batch, each once by its channel and the other system's own number."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from libs.common.errors import Conflict, DomainError
from services.orders.domain.order import NewOrder, OrderStatus
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.placement import place_orders
from services.orders.handlers.ports import ImportRow, KnownImport, Unit
from services.orders.handlers.prices import PriceCheck
from services.orders.handlers.review import Reviewing


class ReferenceReused(Conflict):
    """The channel has sent another order under this reference before."""

    code: ClassVar[str] = "reference-reused"

    def __init__(self, order_id: UUID) -> None:
        """Name the order that has the reference."""
        super().__init__(f"Order {order_id} has this reference in its channel, and it is another.", field="/reference")


@dataclass(frozen=True, slots=True)
class Imported:
    """An order that is there; `status` is None if it was imported before, by this row's content."""

    order_id: UUID
    status: OrderStatus | None


async def import_orders(
    rows: Sequence[ImportRow],
    *,
    unit: Unit,
    price_check: PriceCheck,
    reviewing: Reviewing,
    policy: Policy,
    now: datetime,
) -> list[Imported | DomainError]:
    """Place those of the orders that are new, and say for each row what became of it, in order."""
    outcomes: dict[int, Imported | DomainError] = {}
    first_of: dict[tuple[str, str], int] = {}
    waiting = list(range(len(rows)))
    # Rows of one key are taken one after the other, so that each meets what became of the one before.
    while waiting:
        turn = {rows[number].key: number for number in reversed(waiting)}
        chosen = sorted(turn.values())
        results = await _import_distinct(
            [rows[number] for number in chosen],
            unit=unit,
            price_check=price_check,
            reviewing=reviewing,
            policy=policy,
            now=now,
        )
        outcomes.update(zip(chosen, results, strict=True))
        first_of.update(turn)
        waiting = [number for number in waiting if number not in outcomes]
        for number in waiting:
            first = first_of[rows[number].key]
            told = _told_without_asking(rows[number], rows[first], outcomes[first])
            if told is not None:
                outcomes[number] = told
        waiting = [number for number in waiting if number not in outcomes]
    return [outcomes[number] for number in range(len(rows))]


def _told_without_asking(
    row: ImportRow, first: ImportRow, outcome: Imported | DomainError
) -> Imported | DomainError | None:
    """Return what becomes of a row under the key of one before it, None if that has to be seen."""
    if row.content_hash == first.content_hash:
        return Imported(outcome.order_id, None) if isinstance(outcome, Imported) else outcome
    return ReferenceReused(outcome.order_id) if isinstance(outcome, Imported) else None


async def _import_distinct(
    rows: Sequence[ImportRow],
    *,
    unit: Unit,
    price_check: PriceCheck,
    reviewing: Reviewing,
    policy: Policy,
    now: datetime,
) -> list[Imported | DomainError]:
    known = await unit.imports.claim(rows, now=now)
    new = [row.order for row, one in zip(rows, known, strict=True) if one is None]
    checked = await price_check.check(new, prices=unit.prices, promotions=unit.promotions, now=now)
    accepted = [one for one in checked if isinstance(one, NewOrder)]
    refused = {order.id: one for order, one in zip(new, checked, strict=True) if not isinstance(one, NewOrder)}
    views = await place_orders(accepted, unit=unit, reviewing=reviewing, policy=policy, now=now) if accepted else []
    if refused:
        await unit.imports.unclaim(list(refused))
    placed = {view.id: view.status for view in views}
    return [_outcome(row, one, refused.get(row.order.id), placed) for row, one in zip(rows, known, strict=True)]


def _outcome(
    row: ImportRow, known: KnownImport | None, refusal: DomainError | None, placed: dict[UUID, OrderStatus]
) -> Imported | DomainError:
    if refusal is not None:
        return refusal
    if known is None:
        return Imported(row.order.id, placed[row.order.id])
    if known.content_hash != row.content_hash:
        return ReferenceReused(known.order_id)
    return Imported(known.order_id, None)
