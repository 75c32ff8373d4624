from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logistics.domain.carriers import Carrier, CarrierService, Rate
from services.logistics.domain.choice import Consignment, Policy, choose_carrier
from services.logistics.domain.geography import Coordinates, Site, Zone

TUESDAY = datetime(2026, 6, 2, 9, 30, tzinfo=UTC)
LONDON = Site("GB", Coordinates(51.51, -0.13))
GLASGOW = Site("GB", Coordinates(55.86, -4.25))
SYDNEY = Site("AU", Coordinates(-33.87, 151.21))
POLICY = Policy(promise_days={Zone.DOMESTIC: 3, Zone.EUROPE: 5, Zone.WORLD: 8}, far_km=3000, unit_weight_grams=250)

# A flat draw for each rate, put together below: nested lists of unique things are slow to draw.
DRAWN_RATES = st.tuples(
    st.sampled_from(["ant", "bee", "cat"]),
    st.sampled_from(["express", "standard"]),
    st.builds(
        Rate,
        zone=st.sampled_from(Zone),
        base_minor=st.integers(0, 5_000),
        per_kg_minor=st.integers(0, 1_000),
        transit_days=st.integers(1, 15),
        distance_km_max=st.sampled_from([None, None, 100, 1_000, 10_000]),
    ),
)


def put_together(drawn: list[tuple[str, str, Rate]]) -> list[Carrier]:
    """Return carriers with the rates drawn; of two for one reach, the later."""
    rates: dict[str, dict[str, dict[tuple[Zone, int | None], Rate]]] = {}
    for carrier, service, rate in drawn:
        reaches = rates.setdefault(carrier, {}).setdefault(service, {})
        reaches[rate.zone, rate.distance_km_max] = rate
    return [
        Carrier(
            carrier=carrier,
            name=carrier,
            currency="GBP",
            # An idle carrier must never be picked, whatever it charges.
            is_active=carrier != "cat",
            services=tuple(
                CarrierService(
                    service=service,
                    name=service,
                    cut_off=time(8, 0) if service == "express" else time(17, 0),
                    rates=tuple(reaches.values()),
                )
                for service, reaches in services.items()
            ),
        )
        for carrier, services in rates.items()
    ]


CARRIERS = st.lists(DRAWN_RATES, max_size=12).map(put_together)
SITES = st.builds(
    Site,
    country=st.sampled_from(["GB", "NL", "FR", "US", "AU"]),
    coordinates=st.one_of(st.none(), st.builds(Coordinates, st.floats(-80, 80), st.floats(-180, 180))),
)
CONSIGNMENTS = st.builds(
    Consignment,
    origin=st.one_of(st.none(), SITES),
    destination=SITES,
    units=st.integers(1, 5_000),
    ready_at=st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


def a_carrier(code: str, *, base_minor: int, transit_days: int, zone: Zone = Zone.DOMESTIC) -> Carrier:
    rate = Rate(zone=zone, base_minor=base_minor, per_kg_minor=0, transit_days=transit_days)
    service = CarrierService(service="standard", name="Any", cut_off=time(17, 0), rates=(rate,))
    return Carrier(carrier=code, name=code, currency="GBP", services=(service,))


def a_parcel(destination: Site = GLASGOW) -> Consignment:
    return Consignment(origin=LONDON, destination=destination, units=4, ready_at=TUESDAY)


def repriced(carriers: list[Carrier], option: str, difference_minor: int) -> list[Carrier]:
    """Return the carriers with every rate of one service changed, and none below zero."""
    return [
        replace(
            carrier,
            services=tuple(
                replace(
                    service,
                    rates=tuple(
                        replace(rate, base_minor=max(0, rate.base_minor + difference_minor)) for rate in service.rates
                    ),
                )
                if f"{carrier.carrier}/{service.service}" == option
                else service
                for service in carrier.services
            ),
        )
        for carrier in carriers
    ]


class TestChooseCarrier:
    def test_takes_the_cheapest_that_keeps_the_promise(self) -> None:
        carriers = [
            a_carrier("ant", base_minor=100, transit_days=4),
            a_carrier("bee", base_minor=300, transit_days=3),
            a_carrier("cat", base_minor=200, transit_days=3),
            a_carrier("dog", base_minor=900, transit_days=1),
        ]

        choice = choose_carrier(a_parcel(), carriers, POLICY)

        assert choice.chosen is not None
        assert choice.chosen.carrier == "cat"
        assert choice.chosen.estimated_delivery_at == datetime(2026, 6, 5, 18, tzinfo=UTC)
        assert choice.reason == "cheapest that keeps the delivery promise"

    def test_takes_the_fastest_when_none_keeps_the_promise(self) -> None:
        carriers = [
            a_carrier("ant", base_minor=100, transit_days=9),
            a_carrier("bee", base_minor=900, transit_days=5),
        ]

        choice = choose_carrier(a_parcel(), carriers, POLICY)

        assert choice.chosen is not None
        assert (choice.chosen.carrier, choice.chosen.keeps_promise) == ("bee", False)

    def test_takes_the_fastest_for_a_far_parcel(self) -> None:
        carriers = [
            a_carrier("ant", base_minor=100, transit_days=7, zone=Zone.WORLD),
            a_carrier("bee", base_minor=9_000, transit_days=4, zone=Zone.WORLD),
        ]

        choice = choose_carrier(a_parcel(SYDNEY), carriers, POLICY)

        assert choice.chosen is not None
        assert choice.chosen.carrier == "bee"
        assert choice.reason == "fastest, because the parcel goes far"

    @pytest.mark.parametrize(
        ("origin", "country", "is_far"),
        [(Site("GB"), "AU", True), (Site("GB"), "FR", False), (Site("GB"), "GB", False), (None, "AU", False)],
    )
    def test_goes_by_the_zone_where_the_way_is_not_known(
        self, origin: Site | None, country: str, *, is_far: bool
    ) -> None:
        parcel = replace(a_parcel(), origin=origin, destination=Site(country))

        assert choose_carrier(parcel, [], POLICY).is_far is is_far

    def test_knows_nobody_who_goes_there(self) -> None:
        choice = choose_carrier(a_parcel(SYDNEY), [a_carrier("ant", base_minor=1, transit_days=1)], POLICY)

        assert choice.chosen is None
        assert choice.not_serving == ["ant/standard"]

    def test_prefers_the_rate_for_the_shorter_way(self) -> None:
        near = Rate(zone=Zone.DOMESTIC, base_minor=10, per_kg_minor=0, transit_days=1, distance_km_max=600)
        far = Rate(zone=Zone.DOMESTIC, base_minor=99, per_kg_minor=0, transit_days=3)
        service = CarrierService(service="standard", name="Any", cut_off=time(17, 0), rates=(far, near))
        carrier = Carrier(carrier="ant", name="Ant", currency="GBP", services=(service,))

        near_choice = choose_carrier(a_parcel(), [carrier], POLICY)
        unknown = choose_carrier(replace(a_parcel(), destination=Site("GB")), [carrier], POLICY)

        assert near_choice.chosen is not None
        assert near_choice.chosen.cost_minor == 10
        assert unknown.chosen is not None
        assert unknown.chosen.cost_minor == 99

    @pytest.mark.parametrize(
        ("units", "expected_minor"),
        [pytest.param(4, 120, id="one kg"), pytest.param(5, 125, id="a kg and a quarter")],
    )
    def test_charges_by_weight(self, units: int, expected_minor: int) -> None:
        rate = Rate(zone=Zone.DOMESTIC, base_minor=100, per_kg_minor=20, transit_days=1)

        assert rate.cost_minor(units * 250) == expected_minor

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS)
    def test_never_picks_who_does_not_go_there(self, consignment: Consignment, carriers: list[Carrier]) -> None:
        choice = choose_carrier(consignment, carriers, POLICY)

        if choice.chosen is None:
            assert choice.offers == []
            return
        [carrier] = [one for one in carriers if one.carrier == choice.chosen.carrier]
        [service] = [one for one in carrier.services if one.service == choice.chosen.service]
        assert carrier.is_active
        assert choice.chosen.rate in service.rates
        assert choice.chosen.rate.zone is choice.zone
        reach = choice.chosen.rate.distance_km_max
        assert reach is None or (choice.distance_km is not None and choice.distance_km <= reach)

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS, data=st.data())
    def test_is_the_same_whatever_the_order_of_carriers(
        self, consignment: Consignment, carriers: list[Carrier], data: st.DataObject
    ) -> None:
        shuffled = data.draw(st.permutations(carriers))

        assert choose_carrier(consignment, shuffled, POLICY) == choose_carrier(consignment, carriers, POLICY)

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS, discount=st.integers(1, 5_000))
    def test_stays_with_a_choice_that_becomes_cheaper(
        self, consignment: Consignment, carriers: list[Carrier], discount: int
    ) -> None:
        before = choose_carrier(consignment, carriers, POLICY).chosen
        if before is None:
            return

        after = choose_carrier(consignment, repriced(carriers, before.option, -discount), POLICY).chosen

        assert after is not None
        assert after.option == before.option
        assert after.cost_minor <= before.cost_minor

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS, surcharge=st.integers(1, 5_000), data=st.data())
    def test_does_not_move_to_one_that_becomes_dearer(
        self, consignment: Consignment, carriers: list[Carrier], surcharge: int, data: st.DataObject
    ) -> None:
        before = choose_carrier(consignment, carriers, POLICY)
        others = [offer.option for offer in before.offers if offer != before.chosen]
        if not others:
            return
        other = data.draw(st.sampled_from(others))

        after = choose_carrier(consignment, repriced(carriers, other, surcharge), POLICY)

        assert after.chosen == before.chosen

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS)
    def test_leaves_no_cheaper_punctual_offer_behind(self, consignment: Consignment, carriers: list[Carrier]) -> None:
        choice = choose_carrier(consignment, carriers, POLICY)

        chosen = choice.chosen
        if chosen is None or choice.is_far:
            return
        better = [offer for offer in choice.offers if offer.keeps_promise and offer.cost_minor < chosen.cost_minor]
        assert not (better and chosen.keeps_promise)
        assert chosen.keeps_promise or not any(offer.keeps_promise for offer in choice.offers)

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS)
    def test_estimates_no_arrival_before_the_transit(self, consignment: Consignment, carriers: list[Carrier]) -> None:
        for offer in choose_carrier(consignment, carriers, POLICY).offers:
            assert offer.estimated_delivery_at.weekday() < 5
            assert offer.estimated_delivery_at.date() >= consignment.ready_at.date() + timedelta(
                days=offer.rate.transit_days
            )

    @given(consignment=CONSIGNMENTS, carriers=CARRIERS, extra=st.integers(1, 100))
    def test_costs_no_less_for_a_heavier_parcel(
        self, consignment: Consignment, carriers: list[Carrier], extra: int
    ) -> None:
        heavier = replace(consignment, units=consignment.units + extra)

        light = {offer.option: offer.cost_minor for offer in choose_carrier(consignment, carriers, POLICY).offers}
        heavy = {offer.option: offer.cost_minor for offer in choose_carrier(heavier, carriers, POLICY).offers}

        assert light.keys() == heavy.keys()
        assert all(heavy[option] >= light[option] for option in light)
