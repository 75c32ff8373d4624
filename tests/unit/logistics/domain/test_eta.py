from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logistics.domain.eta import (
    estimate_at_dispatch,
    estimate_at_scan,
    has_moved,
    remaining_share,
)
from services.logistics.domain.geography import Coordinates, Site, point_between
from tests.unit.logistics.domain.shipments import GLASGOW, LONDON, TUESDAY, a_shipment

MOMENTS = st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
POINTS = st.builds(Coordinates, st.floats(-90, 90), st.floats(-180, 180))


class TestEstimateAtDispatch:
    def test_has_all_transit_days_ahead(self) -> None:
        shipment = a_shipment().dispatch(at=TUESDAY + timedelta(days=2), tracking_number=None)

        # Left on Thursday; three business days.
        assert estimate_at_dispatch(shipment) == datetime(2026, 6, 9, 18, tzinfo=UTC)


class TestEstimateAtScan:
    @pytest.mark.parametrize(
        ("seen", "expected"),
        [
            pytest.param(LONDON, datetime(2026, 6, 8, 18, tzinfo=UTC), id="has not moved"),
            pytest.param(point_between(LONDON, GLASGOW, 0.5), datetime(2026, 6, 5, 18, tzinfo=UTC), id="half way"),
            pytest.param(GLASGOW, datetime(2026, 6, 3, 18, tzinfo=UTC), id="is there"),
            pytest.param(Coordinates(-30, 30), datetime(2026, 6, 8, 18, tzinfo=UTC), id="went astray"),
        ],
    )
    def test_counts_the_share_of_the_way_that_is_left(self, seen: Coordinates, expected: datetime) -> None:
        wednesday = TUESDAY + timedelta(days=1)

        assert estimate_at_scan(a_shipment(), scanned_at=wednesday, seen=seen) == expected

    @pytest.mark.parametrize(
        ("scanned_at", "expected"),
        [
            pytest.param(datetime(2026, 6, 3, 18, tzinfo=UTC), datetime(2026, 6, 3, 18, tzinfo=UTC), id="in time"),
            pytest.param(
                datetime(2026, 6, 3, 18, 0, 1, tzinfo=UTC), datetime(2026, 6, 4, 18, tzinfo=UTC), id="a second late"
            ),
        ],
    )
    def test_of_a_parcel_that_is_there_is_the_next_round(self, scanned_at: datetime, expected: datetime) -> None:
        assert estimate_at_scan(a_shipment(), scanned_at=scanned_at, seen=GLASGOW) == expected

    def test_stands_when_the_map_says_nothing(self) -> None:
        shipment = a_shipment()

        estimate = estimate_at_scan(shipment, scanned_at=TUESDAY + timedelta(days=1), seen=None)

        assert estimate == shipment.estimated_delivery_at

    def test_of_an_overdue_parcel_is_the_next_business_day(self) -> None:
        friday_night = datetime(2026, 6, 5, 22, tzinfo=UTC)

        estimate = estimate_at_scan(a_shipment(), scanned_at=friday_night, seen=None)

        assert estimate == datetime(2026, 6, 8, 18, tzinfo=UTC)

    @given(scanned_at=MOMENTS, seen=st.one_of(st.none(), POINTS), transit_days=st.integers(1, 60))
    def test_is_never_in_the_past_of_the_scan(
        self, scanned_at: datetime, seen: Coordinates | None, transit_days: int
    ) -> None:
        shipment = a_shipment(transit_days=transit_days)

        assert estimate_at_scan(shipment, scanned_at=scanned_at, seen=seen) >= scanned_at

    @given(scanned_at=MOMENTS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def test_is_no_later_for_a_parcel_that_is_further(self, scanned_at: datetime, shares: tuple[float, float]) -> None:
        behind, ahead = (point_between(LONDON, GLASGOW, share) for share in sorted(shares))
        shipment = a_shipment()
        # Places are rounded to a tenth of a degree, so two that are close may swap.
        left_behind, left_ahead = remaining_share(shipment, behind), remaining_share(shipment, ahead)
        assert left_behind is not None
        assert left_ahead is not None

        first = estimate_at_scan(shipment, scanned_at=scanned_at, seen=behind)
        second = estimate_at_scan(shipment, scanned_at=scanned_at, seen=ahead)

        assert first >= second or left_ahead > left_behind


class TestRemainingShare:
    @given(seen=POINTS)
    def test_is_a_share(self, seen: Coordinates) -> None:
        share = remaining_share(a_shipment(), seen)

        assert share is not None
        assert 0 <= share <= 1

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"origin": None}, id="unknown warehouse"),
            pytest.param({"destination": Site("GB")}, id="no coordinates"),
            pytest.param({"origin": Site("GB", GLASGOW)}, id="no way to go"),
        ],
    )
    def test_is_unknown_without_a_map(self, changes: dict[str, object]) -> None:
        assert remaining_share(a_shipment(**changes), LONDON) is None


class TestHasMoved:
    def test_needs_more_than_the_threshold_either_way(self) -> None:
        threshold = timedelta(hours=6)

        assert not has_moved(TUESDAY, TUESDAY + threshold, threshold=threshold)
        assert has_moved(TUESDAY, TUESDAY + threshold + timedelta(seconds=1), threshold=threshold)
        assert has_moved(TUESDAY, TUESDAY - timedelta(days=1), threshold=threshold)
