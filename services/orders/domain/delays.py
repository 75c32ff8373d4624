"""What an order was promised, how likely it is late, and which stages made it so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Final
from zoneinfo import ZoneInfo

from services.orders.domain.durations import Distribution, learned


class Stage(StrEnum):
    """
    What an order's time is spent on, in order.

    Hand-over is from dispatch to the carrier's first scan, last mile from its last scan to the door; without scans all
    of it is the carrier's. Transit is the three together.
    """

    QUEUE = "queue"
    REVIEW = "review"
    STOCK = "stock"
    PAYMENT = "payment"
    PICK = "pick"
    HAND_OVER = "hand-over"
    CARRIER = "carrier"
    LAST_MILE = "last-mile"
    TRANSIT = "transit"


STAGES: Final = tuple(Stage)
# The stages that an order's time is the sum of.
PARTS: Final = STAGES[:-1]
BEFORE_CONFIRMATION: Final = (Stage.QUEUE, Stage.REVIEW, Stage.STOCK, Stage.PAYMENT)
# Every order passes these; a review is an exception that the promise does not count on.
_EXPECTED_BEFORE: Final = (Stage.QUEUE, Stage.STOCK, Stage.PAYMENT)
_AT_WAREHOUSE: Final = frozenset({Stage.PICK, Stage.HAND_OVER})
_UNDER_WAY: Final = frozenset({Stage.CARRIER, Stage.LAST_MILE, Stage.TRANSIT})
# What is left of a lateness when every stage has answered for its own excess: the promise left too little room.
PROMISE_SHARE: Final = "promise"
CAUSES: Final = (*(stage.value for stage in PARTS), PROMISE_SHARE)

_HOUR: Final = 3600.0
# What is believed before anything was seen: medians and spreads, worth `strength` orders.
_PRIORS: Final[Mapping[Stage, Distribution]] = {
    Stage.QUEUE: Distribution.log_normal(10, 1.0),
    Stage.REVIEW: Distribution.log_normal(2 * _HOUR, 1.2),
    Stage.STOCK: Distribution.log_normal(20, 1.2),
    Stage.PAYMENT: Distribution.log_normal(20, 1.2),
    Stage.PICK: Distribution.log_normal(18 * _HOUR, 0.8),
    Stage.HAND_OVER: Distribution.log_normal(5 * _HOUR, 0.8),
    Stage.CARRIER: Distribution.log_normal(36 * _HOUR, 0.6),
    Stage.LAST_MILE: Distribution.log_normal(8 * _HOUR, 0.6),
    Stage.TRANSIT: Distribution.log_normal(54 * _HOUR, 0.5),
}
_STRENGTH: Final = 20.0
_BISECTIONS: Final = 30
_LONGEST_SECONDS: Final = 400 * 24 * _HOUR

# Orders by (stage, warehouse or carrier, country) and bucket, as far as the stage depends on them.
Counts = Mapping[tuple[Stage, str, str], Mapping[int, int]]


class DelayModel:
    """What was learned of every stage; read only, made anew from the counts of the last months."""

    def __init__(self, counts: Counts, *, strength: float = _STRENGTH) -> None:
        """`strength` is how many orders the level above counts as."""
        self._counts = counts
        self._strength = strength
        self._known: dict[tuple[Stage, str, str], Distribution] = {}
        self._quantiles: dict[tuple[tuple[str, ...], str, float], float] = {}
        self._typical: dict[tuple[str, str, str], Mapping[Stage, float]] = {}
        pooled: dict[tuple[Stage, str, str], dict[int, int]] = {}
        for (stage, place, country), buckets in counts.items():
            levels = {(stage, "", ""), (stage, "", country), (stage, place, country)}
            for level in levels:
                into = pooled.setdefault(level, {})
                for bucket, orders in buckets.items():
                    into[bucket] = into.get(bucket, 0) + orders
        self._pooled = pooled

    def of(self, stage: Stage, place: str = "", country: str = "") -> Distribution:
        """
        Return how long a stage takes.

        `place` is the warehouse of picking and hand-over, the carrier of what comes after; what a stage does not
        depend on is left out. Each level leans on the one above: carrier and country, country, all, the prior.
        """
        place = place if stage in _AT_WAREHOUSE or stage in _UNDER_WAY else ""
        country = country if stage in _UNDER_WAY else ""
        key = (stage, place, country)
        found = self._known.get(key)
        if found is None:
            above = _PRIORS[stage]
            if place:
                above = self.of(stage, "", country)
            elif country:
                above = self.of(stage)
            found = self._known[key] = learned(self._pooled.get(key, {}), above, strength=self._strength)
        return found

    def orders_seen(self, stage: Stage) -> int:
        """Return how many orders the figures of a stage come from."""
        return sum(self._pooled.get((stage, "", ""), {}).values())

    def typical_seconds(self, *, warehouse: str, carrier: str, country: str) -> Mapping[Stage, float]:
        """Return the median of every stage."""
        key = (warehouse, carrier, country)
        found = self._typical.get(key)
        if found is None:
            found = self._typical[key] = {
                stage: self.of(stage, warehouse if stage in _AT_WAREHOUSE else carrier, country).quantile(0.5)
                for stage in STAGES
            }
        return found

    def from_pick_to_door_seconds(self, warehouses: Iterable[str], country: str, share: float) -> float:
        """Return within how many seconds the parcels of all `warehouses` arrive with probability `share`."""
        key = (tuple(sorted(set(warehouses))) or ("",), country, share)
        found = self._quantiles.get(key)
        if found is None:
            transit = self.of(Stage.TRANSIT, "", country)
            picks = [self.of(Stage.PICK, warehouse) for warehouse in key[0]]
            low, high = 0.0, _LONGEST_SECONDS
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                if prod(pick.sum_below(transit, middle) for pick in picks) < share:
                    low = middle
                else:
                    high = middle
            found = self._quantiles[key] = high
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkCalendar:
    """When a warehouse works on what comes in: on working days, what came before the cut-off the same day."""

    time_zone: ZoneInfo
    # 0 is Monday.
    working_days: frozenset[int]
    cutoff: time

    def handling_start(self, moment: datetime) -> datetime:
        """Return when work on an order that is ready at `moment` begins."""
        local = moment.astimezone(self.time_zone)
        if local.weekday() in self.working_days and local.time() < self.cutoff:
            return moment
        day = local.date() + timedelta(days=1)
        while day.weekday() not in self.working_days:
            day += timedelta(days=1)
        return datetime.combine(day, time(), tzinfo=self.time_zone).astimezone(moment.tzinfo)

    def end_of_day(self, moment: datetime) -> datetime:
        """Return the end of the day that `moment` is in: nobody promises an hour."""
        day = moment.astimezone(self.time_zone).date() + timedelta(days=1)
        return datetime.combine(day, time(), tzinfo=self.time_zone).astimezone(moment.tzinfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """
    What is promised at confirmation.

    `allowance_seconds` is by how much it is later than what an order without incident would have been promised.
    `options` are the dates for other shares of orders on time.
    """

    promised_by: datetime
    ship_by: datetime
    allowance_seconds: float
    options: tuple[tuple[float, datetime], ...]


def make_promise(
    *,
    placed_at: datetime,
    confirmed_at: datetime,
    warehouses: Sequence[str],
    country: str,
    share: float,
    calendar: WorkCalendar,
    model: DelayModel,
) -> Promise:
    """
    Promise the day by which `share` of such orders arrive, counted from when the customer placed it.

    Counted from there and not from the confirmation, an order that lost days in review is known to be at risk instead
    of being promised later; but nothing is promised that will more likely be broken than kept from now on.
    """
    usual = timedelta(seconds=sum(model.of(stage).quantile(0.5) for stage in _EXPECTED_BEFORE))
    anchor = calendar.handling_start(placed_at + usual)
    start = calendar.handling_start(confirmed_at)

    def by(moment: datetime, wanted: float) -> datetime:
        seconds = model.from_pick_to_door_seconds(warehouses, country, wanted)
        return calendar.end_of_day(moment + timedelta(seconds=seconds))

    undisturbed = by(anchor, share)
    promised_by = max(undisturbed, by(start, 0.5))
    picks = [model.of(Stage.PICK, warehouse) for warehouse in warehouses or ("",)]
    ship_by = max(
        anchor + timedelta(seconds=max(pick.quantile(share) for pick in picks)),
        start + timedelta(seconds=max(pick.quantile(0.5) for pick in picks)),
    )
    return Promise(
        promised_by=promised_by,
        ship_by=min(ship_by, promised_by),
        allowance_seconds=(promised_by - undisturbed).total_seconds(),
        options=tuple((option, by(anchor, option)) for option in (0.5, 0.8, 0.95)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A parcel as far as it has come, in business time."""

    warehouse: str = ""
    carrier: str = ""
    dispatched_at: datetime | None = None
    first_scanned_at: datetime | None = None
    last_scanned_at: datetime | None = None
    delivered_at: datetime | None = None


def probability_late(
    parcels: Sequence[Parcel],
    *,
    promised_by: datetime,
    handling_start: datetime,
    country: str,
    now: datetime,
    model: DelayModel,
) -> float:
    """
    Return the probability that the last parcel arrives after `promised_by`, as it looks at `now`.

    Each parcel's remaining time is that of its stages, given how long the present one has lasted already; parcels and
    stages are taken as independent.
    """
    on_time = 1.0
    for parcel in parcels:
        if parcel.delivered_at is not None:
            on_time *= parcel.delivered_at <= promised_by
        elif promised_by <= now:
            on_time = 0.0
        elif parcel.dispatched_at is not None:
            transit = model.of(Stage.TRANSIT, parcel.carrier, country)
            on_time *= transit.below_given(
                (promised_by - parcel.dispatched_at).total_seconds(),
                elapsed_seconds=max(0.0, (now - parcel.dispatched_at).total_seconds()),
            )
        else:
            pick = model.of(Stage.PICK, parcel.warehouse)
            transit = model.of(Stage.TRANSIT, parcel.carrier, country)
            on_time *= pick.sum_below(
                transit,
                (promised_by - handling_start).total_seconds(),
                elapsed_seconds=max(0.0, (now - handling_start).total_seconds()),
            )
    return min(1.0, max(0.0, 1.0 - on_time))


def attribute(
    lateness_seconds: float,
    *,
    seconds: Mapping[Stage, float],
    typical_seconds: Mapping[Stage, float],
    allowance_seconds: float,
) -> dict[str, float]:
    """
    Divide a lateness among the stages that took longer than is typical for them; the shares add up to it.

    What the promise already allowed for is taken off the stages before the confirmation. If the stages exceeded by
    more than the lateness, each answers in proportion; if by less, the rest is the promise's own.
    """
    excess = {stage: max(0.0, seconds[stage] - typical_seconds.get(stage, 0.0)) for stage in PARTS if stage in seconds}
    before = sum(excess.get(stage, 0.0) for stage in BEFORE_CONFIRMATION)
    if before > 0:
        left = max(0.0, 1.0 - allowance_seconds / before)
        excess |= {stage: excess[stage] * left for stage in BEFORE_CONFIRMATION if stage in excess}
    total = sum(excess.values())
    scale = min(1.0, lateness_seconds / total) if total > 0 else 0.0
    shares: dict[str, float] = {stage.value: over * scale for stage, over in excess.items() if over * scale > 0}
    rest = lateness_seconds - sum(shares.values())
    if rest > 0.5:  # noqa: PLR2004 - half a second is rounding
        shares[PROMISE_SHARE] = rest
    return shares


@dataclass(frozen=True, kw_only=True)
class Journey:
    """
    An order's way in business time, as the timeline and the parcels tell it.

    `entered_at` is when each status was first entered.
    """

    placed_at: datetime
    entered_at: Mapping[str, datetime] = field(default_factory=dict)
    parcels: tuple[Parcel, ...] = ()
    calendar: WorkCalendar

    @cached_property
    def confirmed_at(self) -> datetime | None:
        """Return when it was confirmed."""
        return self.entered_at.get("confirmed")

    @cached_property
    def handling_start(self) -> datetime | None:
        """Return when work in the warehouse could begin."""
        return None if self.confirmed_at is None else self.calendar.handling_start(self.confirmed_at)

    @cached_property
    def dispatched_at(self) -> datetime | None:
        """Return when the last parcel left, if all have."""
        return _last([parcel.dispatched_at for parcel in self.parcels])

    @cached_property
    def delivered_at(self) -> datetime | None:
        """Return when the last parcel arrived, if all have."""
        return _last([parcel.delivered_at for parcel in self.parcels])

    @cached_property
    def decisive(self) -> Parcel:
        """Return the parcel that the order waits or waited for: the one that is least far, the latest."""
        latest = datetime.max.replace(tzinfo=self.placed_at.tzinfo)
        return max(
            self.parcels,
            key=lambda parcel: (parcel.delivered_at or latest, parcel.dispatched_at or latest, parcel.warehouse),
            default=Parcel(),
        )

    def stage_seconds(self) -> dict[Stage, float]:
        """Return how long each finished stage took."""
        entered = self.entered_at
        decided = min((entered[name] for name in ("held", "approved", "refused") if name in entered), default=None)
        parcel = self.decisive
        spans = {
            Stage.QUEUE: (entered.get("received"), decided),
            Stage.REVIEW: (entered.get("held"), entered.get("approved")),
            Stage.STOCK: (entered.get("approved"), entered.get("reserved")),
            Stage.PAYMENT: (entered.get("reserved"), self.confirmed_at),
            Stage.PICK: (self.handling_start, self.dispatched_at),
        }
        if self.delivered_at is not None:
            spans[Stage.TRANSIT] = (parcel.dispatched_at, parcel.delivered_at)
            if parcel.first_scanned_at is None:
                spans[Stage.CARRIER] = spans[Stage.TRANSIT]
            else:
                spans[Stage.HAND_OVER] = (parcel.dispatched_at, parcel.first_scanned_at)
                spans[Stage.CARRIER] = (parcel.first_scanned_at, parcel.last_scanned_at)
                spans[Stage.LAST_MILE] = (parcel.last_scanned_at, parcel.delivered_at)
        return {
            stage: max(0.0, (end - start).total_seconds())
            for stage, (start, end) in spans.items()
            if start is not None and end is not None
        }


def _last(times: Sequence[datetime | None]) -> datetime | None:
    known = [moment for moment in times if moment is not None]
    return max(known) if known and len(known) == len(times) else None
