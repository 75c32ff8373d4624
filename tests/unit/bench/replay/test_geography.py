"""Where orders go and where they are sent from."""

from collections import Counter

import pytest

from bench.replay.geography import COUNTRIES, destination, nearest_warehouse
from bench.replay.timeline import Script


class TestCountries:
    def test_know_every_country_of_the_sample(self, script: Script) -> None:
        assert {sale.country for sale in script.sales} <= COUNTRIES.keys()

    def test_place_all_38_names_of_the_data_set(self) -> None:
        assert len(COUNTRIES) == 38
        assert all(len(place.country) == 2 for place in COUNTRIES.values())


class TestDestination:
    def test_is_the_same_for_every_order_of_a_customer(self) -> None:
        places = {destination(country="United Kingdom", customer="ada") for _ in range(3)}

        assert len(places) == 1

    def test_spreads_customers_over_the_home_country(self, script: Script) -> None:
        places = Counter(
            destination(country=sale.country, customer=sale.customer)
            for sale in script.sales
            if sale.country == "United Kingdom"
        )

        assert len(places) == 3
        assert min(places.values()) > places.total() / 10

    def test_is_the_capital_elsewhere(self) -> None:
        assert destination(country="France", customer="ada") == COUNTRIES["France"]


class TestNearestWarehouse:
    @pytest.mark.parametrize(
        ("country", "warehouse"),
        [
            pytest.param("Germany", "RTM", id="continent"),
            pytest.param("EIRE", "MAN", id="across the Irish Sea"),
            pytest.param("Iceland", "GLA", id="north"),
            pytest.param("Channel Islands", "LON", id="south"),
            pytest.param("Australia", "RTM", id="other side of the world"),
        ],
    )
    def test_is_found_by_distance(self, country: str, warehouse: str) -> None:
        assert nearest_warehouse(COUNTRIES[country]) == warehouse
