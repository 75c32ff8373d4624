"""
How a parcel would travel: a journey made up from its id, always the same for the same parcel.

For demonstrations and replays only. Nothing of it is observed; every place is labelled as simulated.
"""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from services.logistics.domain.calendar import add_business_days, shipping_day
from services.logistics.domain.geography import Coordinates, Site, point_between
from services.logistics.domain.shipment import Step

# No carrier of the seed collects later, so a simulated parcel never leaves after its plan says.
_CUT_OFF: Final = time(17, 0)
_SCANS_MAX: Final = 3
_LATE_DAYS_MAX: Final = 4
_EARLY_RATIO: Final = 0.15
_PICKING_MINUTES: Final = (60, 300)
_OPENS_AT: Final = time(8, 0)
_ROUND_MINUTES: Final = 9 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyStep:
    """Something that will happen to a simulated parcel at the business time `at`."""

    step: Step
    at: datetime
    place: str = ""
    coordinates: Coordinates | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How many of the simulated parcels (0 to 1) are late or fail."""

    late_ratio: float
    failure_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What a journey is made from."""

    shipment_id: UUID
    ready_at: datetime
    transit_days: int
    origin: Site | None
    destination: Site


def journey(parcel: Parcel, odds: Odds) -> tuple[JourneyStep, ...]:
    """Return the steps of a parcel in order of their times: dispatched, scanned once to three times, and the end."""
    # Reproducible draws are the point; nothing here is secret.
    draw = random.Random(parcel.shipment_id.int)  # noqa: S311
    fate, punctuality = draw.random(), draw.random()
    left_at = _dispatched_at(parcel.ready_at, draw)
    arrives_at = _arrives_at(left_at, parcel.transit_days, draw, punctuality, odds.late_ratio)
    last = (
        JourneyStep(step=Step.FAILED, at=arrives_at, reason="simulated:not-accepted")
        if fate < odds.failure_ratio
        else JourneyStep(step=Step.DELIVERED, at=arrives_at)
    )
    scans = _scans(parcel, left_at, arrives_at, count=draw.randint(1, _SCANS_MAX))
    return (JourneyStep(step=Step.DISPATCHED, at=left_at), *scans, last)


def real_seconds_until(step: JourneyStep, *, ready_at: datetime, seconds_per_day: float) -> float:
    """Return after how many real seconds of a simulation a step happens."""
    return (step.at - ready_at) / timedelta(days=1) * seconds_per_day


def _dispatched_at(ready: datetime, draw: random.Random) -> datetime:
    day = shipping_day(ready, _CUT_OFF)
    picked_at = ready + timedelta(minutes=draw.randint(*_PICKING_MINUTES))
    return picked_at if picked_at.date() == day else _within_round(day, draw)


def _arrives_at(
    left_at: datetime, transit_days: int, draw: random.Random, punctuality: float, late_ratio: float
) -> datetime:
    days = transit_days
    if punctuality < late_ratio:
        days += draw.randint(1, _LATE_DAYS_MAX)
    elif punctuality > 1 - _EARLY_RATIO:
        days = max(1, days - 1)
    return _within_round(add_business_days(left_at.date(), max(1, days)), draw)


def _scans(parcel: Parcel, left_at: datetime, arrives_at: datetime, *, count: int) -> list[JourneyStep]:
    start = parcel.origin.coordinates if parcel.origin else None
    end = parcel.destination.coordinates
    steps = []
    for number in range(1, count + 1):
        share = number / (count + 1)
        steps.append(
            JourneyStep(
                step=Step.SCANNED,
                at=_whole_minute(left_at + (arrives_at - left_at) * share),
                place=f"simulated stop {number} of {count}",
                coordinates=point_between(start, end, share) if start and end else None,
            )
        )
    return steps


def _within_round(day: date, draw: random.Random) -> datetime:
    return datetime.combine(day, _OPENS_AT, UTC) + timedelta(minutes=draw.randint(0, _ROUND_MINUTES))


def _whole_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
