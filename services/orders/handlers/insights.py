"""Following orders: how long their stages take, what they were promised, and how likely the promise is broken."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from libs.common.decisions import Alternative, Decision, DecisionLog
from libs.common.events.base import Envelope, Event
from libs.common.events.logistics import ShipmentPlanned, ShipmentScanned
from libs.common.events.orders import OrderLateRiskChanged
from libs.common.events.outbox import Outbox
from libs.common.telemetry.tracing import correlated
from services.orders import metrics
from services.orders.domain.delays import (
    CAUSES,
    STAGES,
    DelayModel,
    Journey,
    Parcel,
    Stage,
    WorkCalendar,
    attribute,
    make_promise,
    probability_late,
)
from services.orders.domain.order import TERMINAL, OrderStatus

PROMISE_RULE: Final = "promise-quantile/1"
_RESCORE_SECONDS_MIN: Final = 900.0
_RESCORE_SECONDS_MAX: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelNews:
    """What an event tells of a parcel that the saga does not keep."""

    shipment_id: UUID
    order_id: UUID
    carrier: str | None = None
    scanned_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPromise:
    """What was promised and predicted for an order so far."""

    promised_by: datetime
    ship_by: datetime
    allowance_seconds: float
    typical_seconds: Mapping[Stage, float]
    probability_late: float
    probability_at_confirmation: float
    probability_at_dispatch: float | None
    published_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSource:
    """What the saga's tables say of an order now; `offset` leads from the system's time to the order's own."""

    order_id: UUID
    status: OrderStatus
    status_reason: str | None
    country: str
    placed_at: datetime
    offset: timedelta
    captured_minor: int
    refunded_minor: int
    is_returned: bool
    entered_at: Mapping[str, datetime]
    warehouses: tuple[str, ...]
    parcels: tuple[Parcel, ...]
    correlation_id: str
    promise: StoredPromise | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyRow:
    """What is kept of an order's journey."""

    order_id: UUID
    day: date
    status: OrderStatus
    reason: str | None
    captured_minor: int
    refunded_minor: int
    warehouse: str
    carrier: str
    is_held: bool
    is_backordered: bool
    is_confirmed: bool
    is_returned: bool
    dispatched_at: datetime | None
    delivered_at: datetime | None
    stage_seconds: Sequence[float | None]
    promise: StoredPromise | None = None
    is_at_risk: bool = False
    rescore_at: datetime | None = None
    lateness_seconds: float | None = None
    late_shares: Sequence[float] | None = None


class Journeys(Protocol):
    """The journeys of orders."""

    async def note_parcels(self, news: Sequence[ParcelNews]) -> Collection[UUID]:
        """Keep what is new about parcels; return the orders whose parcels had arrived before it was known."""
        ...

    async def lock(self, order_ids: Collection[UUID]) -> Sequence[OrderSource]:
        """Begin the journeys that are not there yet, lock all in the order of their ids, and read their orders."""
        ...

    async def lock_due(self, *, now: datetime, limit: int) -> Sequence[OrderSource]:
        """Lock and read open orders whose risk is to be looked at again, and that nobody else looks at."""
        ...

    async def save(self, rows: Sequence[JourneyRow]) -> None:
        """Store journeys, and mark their days."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisePolicy:
    """
    How promises are made.

    `share` of orders are to arrive by their promise; an order is at risk from `risk_min` on; a probability is
    published when it has moved by `step` since it was last.
    """

    calendar: WorkCalendar
    share: float
    risk_min: float
    step: float


@dataclass(slots=True)
class ModelHolder:
    """The model in use; a job replaces it."""

    model: DelayModel = field(default_factory=lambda: DelayModel({}))


def parcel_news(event: Event) -> ParcelNews | None:
    """Return what an event of logistics tells of a parcel."""
    if isinstance(event, ShipmentPlanned):
        return ParcelNews(shipment_id=event.shipment_id, order_id=event.order_id, carrier=event.carrier)
    if isinstance(event, ShipmentScanned):
        return ParcelNews(shipment_id=event.shipment_id, order_id=event.order_id, scanned_at=event.scanned_at)
    return None


class Following:
    """Keeps the journeys of orders up to date."""

    def __init__(self, *, policy: PromisePolicy, holder: ModelHolder) -> None:
        """Use the model that `holder` has at the time."""
        self._policy = policy
        self._holder = holder

    async def follow(
        self, batch: Sequence[Envelope], *, journeys: Journeys, outbox: Outbox, decisions: DecisionLog, now: datetime
    ) -> None:
        """Bring the journeys of all orders in a batch up to date; twice is the same as once."""
        news: list[ParcelNews] = []
        order_ids: set[UUID] = set()
        for envelope in batch:
            about_parcel = parcel_news(envelope.event)
            if about_parcel is None:
                order_ids.add(getattr(envelope.event, "order_id"))  # noqa: B009 - all events of these topics have one
            else:
                news.append(about_parcel)
        if news:
            order_ids |= set(await journeys.note_parcels(news))
        if order_ids:
            sources = await journeys.lock(order_ids)
            await self._store(sources, journeys=journeys, outbox=outbox, decisions=decisions, now=now)

    async def rescore(
        self, *, journeys: Journeys, outbox: Outbox, decisions: DecisionLog, now: datetime, limit: int
    ) -> int:
        """Look again at open orders that nothing happens to: time alone makes them late. Return how many."""
        sources = await journeys.lock_due(now=now, limit=limit)
        await self._store(sources, journeys=journeys, outbox=outbox, decisions=decisions, now=now)
        return len(sources)

    async def _store(
        self,
        sources: Sequence[OrderSource],
        *,
        journeys: Journeys,
        outbox: Outbox,
        decisions: DecisionLog,
        now: datetime,
    ) -> None:
        rows = []
        for source in sources:
            row, decision = journey_row(source, policy=self._policy, model=self._holder.model, now=now)
            rows.append(row)
            if decision is not None:
                decisions.add(decision)
            before = source.promise.published_probability if source.promise else 1 - self._policy.share
            if row.promise is not None and row.promise.published_probability != before:
                # Without a version: an estimate is no state of the order, and must not wait for the saga's lock.
                with correlated(source.correlation_id):
                    outbox.add(
                        OrderLateRiskChanged(
                            order_id=row.order_id,
                            probability=round(row.promise.published_probability, 4),
                            promised_by=row.promise.promised_by,
                        )
                    )
                metrics.orders_late_risk_changes_total.inc()
        if rows:
            await journeys.save(rows)


def journey_row(
    source: OrderSource, *, policy: PromisePolicy, model: DelayModel, now: datetime
) -> tuple[JourneyRow, Decision | None]:
    """Return what is to be kept of an order, and the decision if it was promised just now."""
    calendar = policy.calendar
    journey = Journey(
        placed_at=source.placed_at, entered_at=source.entered_at, parcels=source.parcels, calendar=calendar
    )
    seconds = journey.stage_seconds()
    decisive = journey.decisive
    warehouse = decisive.warehouse or (source.warehouses[0] if source.warehouses else "")
    business_now = now + source.offset
    promise, decision = source.promise, None
    if promise is None and journey.confirmed_at is not None:
        promise, decision = _promised(source, journey, warehouse, policy=policy, model=model, now=now)
    is_open = promise is not None and source.status not in TERMINAL and journey.delivered_at is None
    is_at_risk, rescore_at = False, None
    if promise is not None and is_open and journey.handling_start is not None:
        if source.promise is None and not source.parcels:
            # It was worked out a moment ago.
            probability = promise.probability_late
        else:
            probability = probability_late(
                source.parcels or tuple(Parcel(warehouse=one) for one in source.warehouses or ("",)),
                promised_by=promise.promised_by,
                handling_start=journey.handling_start,
                country=source.country,
                now=business_now,
                model=model,
            )
        promise = _scored(promise, probability, is_dispatched=journey.dispatched_at is not None, policy=policy)
        is_at_risk = probability >= policy.risk_min
        rescore_at = now + _until_next_look(promise, business_now)
    lateness_seconds, late_shares = None, None
    if promise is not None and journey.delivered_at is not None:
        lateness_seconds = max(0.0, (journey.delivered_at - promise.promised_by).total_seconds())
        if lateness_seconds > 0:
            shares = attribute(
                lateness_seconds,
                seconds=seconds,
                typical_seconds=promise.typical_seconds,
                allowance_seconds=promise.allowance_seconds,
            )
            late_shares = [shares.get(cause, 0.0) for cause in CAUSES]
    row = JourneyRow(
        order_id=source.order_id,
        day=source.placed_at.date(),
        status=source.status,
        reason=source.status_reason,
        captured_minor=source.captured_minor,
        refunded_minor=source.refunded_minor,
        warehouse=warehouse,
        carrier=decisive.carrier,
        is_held="held" in source.entered_at,
        is_backordered="backordered" in source.entered_at,
        is_confirmed=journey.confirmed_at is not None,
        is_returned=source.is_returned,
        dispatched_at=journey.dispatched_at,
        delivered_at=journey.delivered_at,
        stage_seconds=[seconds.get(stage) for stage in STAGES],
        promise=promise,
        is_at_risk=is_at_risk,
        rescore_at=rescore_at,
        lateness_seconds=lateness_seconds,
        late_shares=late_shares,
    )
    return row, decision


def _promised(
    source: OrderSource,
    journey: Journey,
    warehouse: str,
    *,
    policy: PromisePolicy,
    model: DelayModel,
    now: datetime,
) -> tuple[StoredPromise, Decision]:
    confirmed_at = journey.confirmed_at or source.placed_at
    made = make_promise(
        placed_at=source.placed_at,
        confirmed_at=confirmed_at,
        warehouses=source.warehouses,
        country=source.country,
        share=policy.share,
        calendar=policy.calendar,
        model=model,
    )
    handling_start = policy.calendar.handling_start(confirmed_at)
    probability = probability_late(
        tuple(Parcel(warehouse=one) for one in source.warehouses or ("",)),
        promised_by=made.promised_by,
        handling_start=handling_start,
        country=source.country,
        now=confirmed_at,
        model=model,
    )
    promise = StoredPromise(
        promised_by=made.promised_by,
        ship_by=made.ship_by,
        allowance_seconds=made.allowance_seconds,
        typical_seconds=model.typical_seconds(warehouse=warehouse, carrier="", country=source.country),
        probability_late=probability,
        probability_at_confirmation=probability,
        probability_at_dispatch=None,
        published_probability=1 - policy.share,
    )
    decision = Decision(
        decision="promise-delivery",
        subject=f"order:{source.order_id}",
        chosen=made.promised_by.isoformat(),
        reason=(
            f"{policy.share:.0%} of such orders arrive by then, counted from when it was placed"
            if made.allowance_seconds == 0
            else "what happened before its confirmation makes the usual date more likely missed than met"
        ),
        rule=PROMISE_RULE,
        decided_at=now,
        alternatives=[Alternative(option=when.isoformat(), score=share) for share, when in made.options],
        inputs={
            "warehouses": list(source.warehouses),
            "country": source.country,
            "confirmed_at": confirmed_at.isoformat(),
            "handling_start": handling_start.isoformat(),
            "ship_by": made.ship_by.isoformat(),
            "probability_late": round(probability, 4),
            "orders_learned_from": model.orders_seen(Stage.TRANSIT),
        },
    )
    return promise, decision


def _scored(promise: StoredPromise, probability: float, *, is_dispatched: bool, policy: PromisePolicy) -> StoredPromise:
    has_moved = abs(probability - promise.published_probability) >= policy.step
    at_dispatch = promise.probability_at_dispatch
    return StoredPromise(
        promised_by=promise.promised_by,
        ship_by=promise.ship_by,
        allowance_seconds=promise.allowance_seconds,
        typical_seconds=promise.typical_seconds,
        probability_late=probability,
        probability_at_confirmation=promise.probability_at_confirmation,
        probability_at_dispatch=probability if is_dispatched and at_dispatch is None else at_dispatch,
        published_probability=probability if has_moved else promise.published_probability,
    )


def _until_next_look(promise: StoredPromise, business_now: datetime) -> timedelta:
    """Look again when a date passes, else a few times a day."""
    ahead = [
        (moment - business_now).total_seconds() + 1
        for moment in (promise.ship_by, promise.promised_by)
        if moment > business_now
    ]
    return timedelta(seconds=max(_RESCORE_SECONDS_MIN, min([_RESCORE_SECONDS_MAX, *ahead])))
