from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logistics.domain.calendar import add_business_days, delivery_time, shipping_day
from services.logistics.domain.geography import Coordinates, Site
from services.logistics.domain.shipment import Step
from services.logistics.domain.simulation import Odds, Parcel, journey, real_seconds_until
from tests.unit.logistics.domain.shipments import GLASGOW, LONDON

PUNCTUAL = Odds(late_ratio=0, failure_ratio=0)
USUAL = Odds(late_ratio=0.04, failure_ratio=0)
PLACED_AT = datetime(2011, 3, 4, 15, 40, tzinfo=UTC)

SITES = st.builds(
    Site,
    country=st.just("GB"),
    coordinates=st.one_of(st.none(), st.builds(Coordinates, st.floats(-90, 90), st.floats(-180, 180))),
)
PARCELS = st.builds(
    Parcel,
    shipment_id=st.uuids(),
    ready_at=st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    transit_days=st.integers(1, 20),
    origin=st.one_of(st.none(), SITES),
    destination=SITES,
)


def a_parcel(number: int) -> Parcel:
    return Parcel(
        shipment_id=UUID(int=number * 2**64 + number),
        ready_at=PLACED_AT,
        transit_days=3,
        origin=Site("GB", LONDON),
        destination=Site("GB", GLASGOW),
    )


class TestJourney:
    @given(parcel=PARCELS)
    def test_goes_from_the_warehouse_over_scans_to_the_door(self, parcel: Parcel) -> None:
        steps = journey(parcel, USUAL)

        kinds = [step.step for step in steps]
        assert kinds[0] is Step.DISPATCHED
        assert kinds[-1] is Step.DELIVERED
        assert set(kinds[1:-1]) == {Step.SCANNED}
        assert 3 <= len(steps) <= 5
        times = [step.at for step in steps]
        assert times == sorted(set(times))
        assert times[0] > parcel.ready_at
        assert all(step.place.startswith("simulated") for step in steps[1:-1])

    @given(parcel=PARCELS)
    def test_is_the_same_every_time(self, parcel: Parcel) -> None:
        assert journey(parcel, USUAL) == journey(parcel, USUAL)

    @given(parcel=PARCELS)
    def test_keeps_the_carriers_word_unless_it_is_late(self, parcel: Parcel) -> None:
        day = shipping_day(parcel.ready_at, datetime(2011, 1, 1, 17, 0).time())  # noqa: DTZ001

        arrival = journey(parcel, PUNCTUAL)[-1].at

        assert arrival <= delivery_time(add_business_days(day, parcel.transit_days))

    def test_is_late_for_a_few_parcels_in_a_hundred(self) -> None:
        expected = delivery_time(add_business_days(PLACED_AT.date(), 3))

        late = sum(journey(a_parcel(number), USUAL)[-1].at > expected for number in range(1000))

        assert 20 <= late <= 60

    @pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (1.0, 200)])
    def test_fails_as_often_as_it_should(self, ratio: float, expected: int) -> None:
        odds = Odds(late_ratio=0.04, failure_ratio=ratio)

        ends = [journey(a_parcel(number), odds)[-1] for number in range(200)]

        assert sum(end.step is Step.FAILED for end in ends) == expected
        assert all(end.reason for end in ends if end.step is Step.FAILED)

    def test_is_seen_on_the_way(self) -> None:
        for scan in journey(a_parcel(7), USUAL)[1:-1]:
            assert scan.coordinates is not None
            assert LONDON.latitude < scan.coordinates.latitude < GLASGOW.latitude


class TestRealSeconds:
    def test_follow_the_pace(self) -> None:
        step = journey(a_parcel(1), USUAL)[-1]
        days = (step.at - PLACED_AT) / timedelta(days=1)

        assert real_seconds_until(step, ready_at=PLACED_AT, seconds_per_day=2.0) == pytest.approx(2 * days)
