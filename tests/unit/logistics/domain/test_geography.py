import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logistics.domain.geography import (
    Coordinates,
    Site,
    Zone,
    distance_between,
    distance_km,
    point_between,
    zone_between,
)

LONDON = Coordinates(51.51, -0.13)
PARIS = Coordinates(48.86, 2.35)
SYDNEY = Coordinates(-33.87, 151.21)
POINTS = st.builds(Coordinates, st.floats(-90, 90), st.floats(-180, 180))


class TestDistance:
    @pytest.mark.parametrize(
        ("start", "end", "expected_km"),
        [
            pytest.param(LONDON, PARIS, 344, id="London to Paris"),
            pytest.param(LONDON, SYDNEY, 16_994, id="London to Sydney"),
            pytest.param(Coordinates(0, 179.5), Coordinates(0, -179.5), 111, id="over the date line"),
        ],
    )
    def test_is_that_of_the_map(self, start: Coordinates, end: Coordinates, expected_km: int) -> None:
        assert distance_km(start, end) == pytest.approx(expected_km, abs=1.5)

    @given(start=POINTS, end=POINTS)
    def test_is_the_same_both_ways_and_never_more_than_half_the_earth(
        self, start: Coordinates, end: Coordinates
    ) -> None:
        assert distance_km(start, end) == pytest.approx(distance_km(end, start), abs=1e-6)
        assert 0 <= distance_km(start, end) <= 20_016

    def test_is_unknown_where_a_point_is(self) -> None:
        assert distance_between(Site("GB", LONDON), Site("FR")) is None
        assert distance_between(None, Site("FR", PARIS)) is None


class TestPointBetween:
    @given(start=POINTS, end=POINTS, share=st.floats(0.05, 0.95))
    def test_lies_on_the_way(self, start: Coordinates, end: Coordinates, share: float) -> None:
        point = point_between(start, end, share)

        # Coordinates are rounded to a tenth of a degree, 8 km at most from the exact point.
        assert distance_km(start, point) <= distance_km(start, end) + 16
        assert -90 <= point.latitude <= 90
        assert -180 <= point.longitude <= 180

    def test_is_half_way_in_the_middle(self) -> None:
        middle = point_between(LONDON, PARIS, 0.5)

        assert distance_km(LONDON, middle) == pytest.approx(172, abs=10)


class TestZone:
    @pytest.mark.parametrize(
        ("origin", "destination", "expected"),
        [
            ("GB", "GB", Zone.DOMESTIC),
            ("NL", "GB", Zone.EUROPE),
            ("GB", "JE", Zone.EUROPE),
            ("GB", "US", Zone.WORLD),
            ("US", "US", Zone.DOMESTIC),
            ("GB", "ZZ", Zone.WORLD),
        ],
    )
    def test_follows_the_countries(self, origin: str, destination: str, expected: Zone) -> None:
        assert zone_between(Site(origin), Site(destination)) is expected

    def test_is_the_widest_from_an_unknown_origin(self) -> None:
        assert zone_between(None, Site("GB")) is Zone.WORLD
