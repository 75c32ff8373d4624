"""What happens to parcels on their way, whoever reports it: a person, a carrier's feed or the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

from libs.common.errors import DomainError, Invalid, NotFound
from libs.common.events.base import Event
from libs.common.events.logistics import (
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentEtaChanged,
    ShipmentFailed,
    ShipmentScanned,
)
from libs.common.events.outbox import Outbox
from libs.common.events.shapes import SkuQuantity
from libs.common.privacy import ERASED, told
from services.logistics.domain.eta import estimate_at_dispatch, estimate_at_scan, has_moved
from services.logistics.domain.geography import Coordinates
from services.logistics.domain.shipment import (
    ImplausibleTime,
    Scan,
    Shipment,
    Step,
)
from services.logistics.handlers.ports import Shipments
from services.logistics.handlers.working_set import WorkingSet

# Clocks of warehouses and carriers differ from ours, and by a day at most.
CLOCK_TOLERANCE: Final = timedelta(days=1)


class ShipmentNotFound(NotFound):
    """There is no shipment with this id."""

    code: ClassVar[str] = "shipment-not-found"

    def __init__(self, shipment_id: UUID) -> None:
        """Name the id."""
        super().__init__(f"There is no shipment {shipment_id}.")


class NotReportable(Invalid):
    """Only what carriers and warehouses see can be reported about a shipment."""

    code: ClassVar[str] = "not-reportable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """
    One report about one shipment.

    `at` is the business time, None for now. A report that says the same as one before it has no second effect,
    which is what makes bulk reports without a key safe to send again.
    """

    shipment_id: UUID
    step: Step
    at: datetime | None = None
    tracking_number: str | None = None
    place: str = ""
    coordinates: Coordinates | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A report that was accepted, and the state that its shipment is in since."""

    shipment: Shipment
    step: Step
    is_repeated: bool = False
    # By how much the estimated arrival changed, if by enough to be published.
    estimate_changed_by: timedelta | None = None


async def record_movements(
    movements: Sequence[Movement],
    *,
    shipments: Shipments,
    outbox: Outbox,
    now: datetime,
    eta_threshold: timedelta,
    future_max: timedelta = CLOCK_TOLERANCE,
) -> list[Moved | DomainError]:
    """
    Apply reports in order; return for each what came of it or why it was refused.

    A refused report changes nothing. Estimates that move by more than `eta_threshold` are published; business
    times further ahead of `now` than `future_max` are refused.
    """
    shipment_ids = {movement.shipment_id for movement in movements}
    working_set = WorkingSet(await shipments.lock(shipment_ids))
    scanned_ids = {one.shipment_id for one in movements if one.step is Step.SCANNED}
    known = set(await shipments.scans_known(scanned_ids)) if scanned_ids else set()
    recorder = _Recorder(
        working_set=working_set,
        known_scans=known,
        now=now,
        latest=now + future_max,
        threshold=eta_threshold,
    )
    outcomes: list[Moved | DomainError] = []
    for movement in movements:
        try:
            outcomes.append(recorder.record(movement))
        except DomainError as refusal:
            outcomes.append(refusal)
    if recorder.scans:
        await shipments.add_scans(recorder.scans)
    await working_set.write(shipments, outbox)
    return outcomes


@dataclass(slots=True, kw_only=True)
class _Recorder:
    working_set: WorkingSet
    known_scans: set[tuple[UUID, datetime, str]]
    now: datetime
    latest: datetime
    threshold: timedelta
    scans: list[Scan] = field(default_factory=list)

    def record(self, movement: Movement) -> Moved:
        shipment = self.working_set.get(movement.shipment_id)
        if shipment is None:
            raise ShipmentNotFound(movement.shipment_id)
        if self._is_repeated(shipment, movement):
            return Moved(shipment=shipment, step=movement.step, is_repeated=True)
        at = movement.at or self.now
        self._must_be_plausible(shipment, movement.step, at)
        match movement.step:
            case Step.DISPATCHED:
                return self._dispatch(shipment, at, movement.tracking_number)
            case Step.SCANNED:
                return self._scan(shipment, at, movement)
            case Step.DELIVERED:
                moved = shipment.deliver(at=at)
                event = ShipmentDelivered(shipment_id=moved.id, order_id=moved.order_id, delivered_at=at)
                return Moved(shipment=self.working_set.change(moved, event), step=movement.step)
            case Step.FAILED:
                moved = shipment.fail(at=at, reason=movement.reason)
                failed = ShipmentFailed(
                    shipment_id=moved.id, order_id=moved.order_id, failed_at=at, reason=told(movement.reason)
                )
                return Moved(shipment=self.working_set.change(moved, failed), step=movement.step)
            case Step.CANCELLED:
                # Whether an order may be cancelled is not the warehouse's to say.
                raise NotReportable("A cancellation comes from the order, not from a report.", field="type")

    def _dispatch(self, shipment: Shipment, at: datetime, tracking_number: str | None) -> Moved:
        moved = shipment.dispatch(at=at, tracking_number=tracking_number)
        event = ShipmentDispatched(
            shipment_id=moved.id,
            order_id=moved.order_id,
            warehouse=moved.warehouse,
            lines=[SkuQuantity(sku=line.sku, quantity=line.quantity) for line in moved.lines],
            dispatched_at=at,
            # The bus forgets nothing: whoever needs the number, or the places, asks for the shipment.
            tracking_number="",
        )
        return self._re_estimated(moved, event, estimate_at_dispatch(moved), Step.DISPATCHED)

    def _scan(self, shipment: Shipment, at: datetime, movement: Movement) -> Moved:
        moved = shipment.scan(at=at)
        if shipment.tracking_number == ERASED:
            # It may be late, but it says nothing of anybody any more.
            movement = replace(movement, place=ERASED, coordinates=None)
        scan = Scan(shipment_id=moved.id, scanned_at=at, place=movement.place, coordinates=movement.coordinates)
        self.scans.append(scan)
        self.known_scans.add(scan.identity)
        event = ShipmentScanned(
            shipment_id=moved.id,
            order_id=moved.order_id,
            scanned_at=at,
            place="",
        )
        if moved.last_scanned_at != at:
            # An older scan that arrives late says nothing about where the parcel is now.
            return Moved(shipment=self.working_set.change(moved, event), step=Step.SCANNED)
        estimate = estimate_at_scan(moved, scanned_at=at, seen=movement.coordinates)
        return self._re_estimated(moved, event, estimate, Step.SCANNED)

    def _re_estimated(self, moved: Shipment, event: Event, estimate: datetime, step: Step) -> Moved:
        before = moved.estimated_delivery_at
        if not has_moved(before, estimate, threshold=self.threshold):
            return Moved(shipment=self.working_set.change(moved, event), step=step)
        changed = ShipmentEtaChanged(
            shipment_id=moved.id,
            order_id=moved.order_id,
            estimated_delivery_at=estimate,
            previous_estimated_delivery_at=before,
        )
        moved = replace(moved, estimated_delivery_at=estimate)
        return Moved(
            shipment=self.working_set.change(moved, event, changed),
            step=step,
            estimate_changed_by=estimate - before,
        )

    def _is_repeated(self, shipment: Shipment, movement: Movement) -> bool:
        if movement.at is None:
            return False
        match movement.step:
            case Step.DISPATCHED:
                return shipment.dispatched_at == movement.at
            case Step.SCANNED:
                return (shipment.id, movement.at, movement.place) in self.known_scans
            case Step.DELIVERED:
                return shipment.delivered_at == movement.at
            case Step.FAILED:
                return shipment.failed_at == movement.at
            case Step.CANCELLED:
                return False

    def _must_be_plausible(self, shipment: Shipment, step: Step, at: datetime) -> None:
        if at < shipment.ready_at - CLOCK_TOLERANCE:
            detail = f"The order was ready for shipping later, at {shipment.ready_at.isoformat()}."
            raise ImplausibleTime(detail, field=f"{step}_at")
        if at > self.latest:
            raise ImplausibleTime("The time is in the future.", field=f"{step}_at")
