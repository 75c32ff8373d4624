from collections.abc import Callable
from datetime import timedelta
from itertools import product
from uuid import UUID, uuid4

import pytest

from libs.common.errors import Conflict
from services.logistics.domain.shipment import (
    TRANSITIONS,
    ImplausibleTime,
    Shipment,
    ShipmentAlreadyCancelled,
    ShipmentAlreadyDelivered,
    ShipmentAlreadyDispatched,
    ShipmentAlreadyFailed,
    ShipmentNotDispatched,
    Status,
    Step,
    shipment_id,
)
from tests.unit.logistics.domain.shipments import TUESDAY, a_shipment

LATER = TUESDAY + timedelta(days=1)

STEPS: dict[Step, Callable[[Shipment], Shipment]] = {
    Step.DISPATCHED: lambda shipment: shipment.dispatch(at=LATER, tracking_number=None),
    Step.SCANNED: lambda shipment: shipment.scan(at=LATER),
    Step.DELIVERED: lambda shipment: shipment.deliver(at=LATER),
    Step.FAILED: lambda shipment: shipment.fail(at=LATER, reason="flood"),
    Step.CANCELLED: lambda shipment: shipment.cancel(at=LATER, reason="changed-mind"),
}


def a_shipment_that_is(status: Status) -> Shipment:
    ways: dict[Status, list[Step]] = {
        Status.PLANNED: [],
        Status.DISPATCHED: [Step.DISPATCHED],
        Status.DELIVERED: [Step.DISPATCHED, Step.DELIVERED],
        Status.FAILED: [Step.DISPATCHED, Step.FAILED],
        Status.CANCELLED: [Step.CANCELLED],
    }
    shipment = a_shipment()
    for step in ways[status]:
        shipment = STEPS[step](shipment)
    return shipment


class TestTransitions:
    def test_are_decided_for_every_step_in_every_state(self) -> None:
        assert set(TRANSITIONS) == set(product(Status, Step))

    @pytest.mark.parametrize(("status", "step"), list(product(Status, Step)))
    def test_are_what_the_shipment_does(self, status: Status, step: Step) -> None:
        shipment = a_shipment_that_is(status)
        outcome = TRANSITIONS[status, step]

        if isinstance(outcome, Status):
            assert STEPS[step](shipment).status is outcome
        else:
            with pytest.raises(outcome):
                STEPS[step](shipment)

    @pytest.mark.parametrize(
        ("status", "step", "refusal"),
        [
            (Status.PLANNED, Step.DELIVERED, ShipmentNotDispatched),
            (Status.PLANNED, Step.FAILED, ShipmentNotDispatched),
            (Status.DISPATCHED, Step.CANCELLED, ShipmentAlreadyDispatched),
            (Status.DELIVERED, Step.FAILED, ShipmentAlreadyDelivered),
            (Status.FAILED, Step.DELIVERED, ShipmentAlreadyFailed),
            (Status.CANCELLED, Step.DISPATCHED, ShipmentAlreadyCancelled),
        ],
    )
    def test_refuse_with_a_code_of_their_own(self, status: Status, step: Step, refusal: type[Conflict]) -> None:
        assert TRANSITIONS[status, step] is refusal
        assert refusal.code.startswith("shipment-")

    def test_lead_nowhere_from_a_final_state(self) -> None:
        for status in Status:
            leads_on = any(isinstance(TRANSITIONS[status, step], Status) for step in Step)
            assert leads_on is not status.is_final


class TestShipment:
    def test_gets_a_tracking_number_if_the_carrier_gave_none(self) -> None:
        shipment = a_shipment().dispatch(at=LATER, tracking_number=None)

        assert shipment.tracking_number == "EXAMPLE-POST-000000000000"

    def test_remembers_the_latest_scan(self) -> None:
        shipment = a_shipment_that_is(Status.DISPATCHED)

        seen = shipment.scan(at=LATER + timedelta(hours=5)).scan(at=LATER + timedelta(hours=2))

        assert seen.last_scanned_at == LATER + timedelta(hours=5)

    @pytest.mark.parametrize("step", [Step.SCANNED, Step.DELIVERED, Step.FAILED])
    def test_cannot_be_seen_before_it_left(self, step: Step) -> None:
        shipment = a_shipment().dispatch(at=LATER + timedelta(hours=1), tracking_number="GB-1")

        with pytest.raises(ImplausibleTime) as refusal:
            STEPS[step](shipment)

        assert refusal.value.field == f"{step}_at"

    def test_is_late_after_its_promise_only(self) -> None:
        shipment = a_shipment_that_is(Status.DISPATCHED)

        assert not shipment.deliver(at=shipment.promised_at).is_late
        assert shipment.deliver(at=shipment.promised_at + timedelta(minutes=1)).is_late


class TestShipmentId:
    def test_is_always_the_same_for_an_order_and_a_warehouse(self) -> None:
        order_id = UUID("0197a3a6-0000-7000-8000-000000000001")

        # Written down, because a change would plan replayed orders a second time.
        assert shipment_id(order_id, "LON") == UUID("31eea5d9-349d-5f50-99f4-caa1919e9651")
        assert shipment_id(order_id, "RTM") != shipment_id(order_id, "LON")
        assert shipment_id(uuid4(), "LON") != shipment_id(order_id, "LON")
