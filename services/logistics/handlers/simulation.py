"""Moves parcels that nobody else moves, for demonstrations and replays."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from libs.common.errors import DomainError
from libs.common.events.outbox import Outbox
from services.logistics.domain.simulation import (
    JourneyStep,
    Odds,
    Parcel,
    journey,
    real_seconds_until,
)
from services.logistics.handlers.movements import Moved, Movement, record_movements
from services.logistics.handlers.ports import Shipments

# Simulated time runs ahead of the clock: an order of this minute is delivered next week within seconds.
_SIMULATED_FUTURE_MAX: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A parcel under way: `steps_done` of its journey have happened, the next one is due at `next_step_at` (real)."""

    parcel: Parcel
    started_at: datetime
    steps_done: int
    next_step_at: datetime


class Simulations(Protocol):
    """The parcels that the simulator moves; the table stays empty where the role does not run."""

    async def planned_without(self, *, limit: int) -> Sequence[Parcel]:
        """Return planned shipments that no simulation has yet, first planned first."""
        ...

    async def start(self, simulations: Sequence[Simulation]) -> None:
        """Add simulations; those that another simulator added first stay as they are."""
        ...

    async def claim_due(self, *, now: datetime, limit: int) -> Sequence[Simulation]:
        """Return simulations with a step due, locked; those that another simulator holds are passed over."""
        ...

    async def advance(self, simulations: Sequence[Simulation]) -> None:
        """Store how far simulations are."""
        ...

    async def end(self, shipment_ids: Collection[UUID]) -> None:
        """Forget simulations."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast simulated time passes, and what happens in it."""

    seconds_per_day: float
    odds: Odds
    batch_size: int = 1_000


async def start_simulations(*, simulations: Simulations, pace: Pace, now: datetime) -> int:
    """Take on planned shipments; return how many."""
    parcels = await simulations.planned_without(limit=pace.batch_size)
    started = []
    for parcel in parcels:
        first = journey(parcel, pace.odds)[0]
        started.append(
            Simulation(
                parcel=parcel,
                started_at=now,
                steps_done=0,
                next_step_at=_due_at(first, parcel, started_at=now, pace=pace),
            )
        )
    if started:
        await simulations.start(started)
    return len(started)


async def advance_simulations(
    *,
    simulations: Simulations,
    shipments: Shipments,
    outbox: Outbox,
    pace: Pace,
    now: datetime,
    eta_threshold: timedelta,
) -> list[Moved]:
    """Take every step that is due, through the same use case as a person's report; return what moved."""
    due = await simulations.claim_due(now=now, limit=pace.batch_size)
    if not due:
        return []
    movements: list[Movement] = []
    advanced: dict[UUID, Simulation | None] = {}
    for simulation in due:
        steps = journey(simulation.parcel, pace.odds)
        done = simulation.steps_done
        while done < len(steps) and _due(steps[done], simulation, pace) <= now:
            movements.append(_movement(simulation.parcel.shipment_id, steps[done]))
            done += 1
        advanced[simulation.parcel.shipment_id] = (
            replace(simulation, steps_done=done, next_step_at=_due(steps[done], simulation, pace))
            if done < len(steps)
            else None
        )
    outcomes = await record_movements(
        movements,
        shipments=shipments,
        outbox=outbox,
        now=now,
        eta_threshold=eta_threshold,
        future_max=_SIMULATED_FUTURE_MAX,
    )
    moved = []
    for movement, outcome in zip(movements, outcomes, strict=True):
        if isinstance(outcome, DomainError):
            # Somebody else moved or cancelled this parcel; its journey is theirs now.
            advanced[movement.shipment_id] = None
        else:
            moved.append(outcome)
    await simulations.advance([one for one in advanced.values() if one is not None])
    await simulations.end([one for one, simulation in advanced.items() if simulation is None])
    return moved


def _movement(shipment_id: UUID, step: JourneyStep) -> Movement:
    return Movement(
        shipment_id=shipment_id,
        step=step.step,
        at=step.at,
        place=step.place,
        coordinates=step.coordinates,
        reason=step.reason,
    )


def _due(step: JourneyStep, simulation: Simulation, pace: Pace) -> datetime:
    return _due_at(step, simulation.parcel, started_at=simulation.started_at, pace=pace)


def _due_at(step: JourneyStep, parcel: Parcel, *, started_at: datetime, pace: Pace) -> datetime:
    seconds = real_seconds_until(step, ready_at=parcel.ready_at, seconds_per_day=pace.seconds_per_day)
    return started_at + timedelta(seconds=seconds)
