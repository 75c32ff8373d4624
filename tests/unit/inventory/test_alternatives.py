from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.base import Envelope
from libs.common.events.catalog import ProductChanged, ProductDelisted, ProductListed
from services.inventory.domain.alternatives import AlternativesPolicy, LikenessWeights
from services.inventory.handlers.assortment import Assortment, usable_units
from tests.unit.inventory.builders import ARMCHAIR, NOON

CHAIRS = ("furniture", "chairs")


def listed(
    sku: str,
    price_minor: int = 10_000,
    *,
    path: tuple[str, ...] = CHAIRS,
    title: str = "",
    currency: str = "GBP",
    version: int = 1,
    after_minutes: int = 0,
    **attributes: str,
) -> Envelope:
    event = ProductListed(
        sku=sku,
        title=title or sku,
        category=path[-1] if path else None,
        price_minor=price_minor,
        currency=currency,
        is_listed=True,
        attributes={name: value for name, value in attributes.items() if value},
        category_path=list(path),
    )
    return Envelope(
        id=uuid4(), event=event, time=NOON + timedelta(minutes=after_minutes), source="test", aggregate_version=version
    )


def delisted(sku: str, *, version: int = 2) -> Envelope:
    event = ProductDelisted(sku=sku, title=sku, category="chairs", price_minor=10_000, currency="GBP", is_listed=False)
    return Envelope(id=uuid4(), event=event, time=NOON, source="test", aggregate_version=version)


def assortment(*told: Envelope, policy: AlternativesPolicy | None = None) -> Assortment:
    copy = Assortment(policy or AlternativesPolicy())
    for one in told:
        copy.apply(one)
    copy.complete()
    return copy


def offered(copy: Assortment, free: Mapping[str, int] | None = None, *, quantity: int = 1) -> list[str]:
    """Return what is offered instead of the armchair; there are a hundred of everything unless `free` says more."""
    units = (lambda _: 100) if free is None else (lambda sku: free.get(sku, 0))
    return [one.sku for one in copy.alternatives(ARMCHAIR, units, quantity=quantity)]


class TestWhatIsOffered:
    def test_comes_from_the_same_category_first_then_from_the_nearest(self) -> None:
        copy = assortment(
            listed(ARMCHAIR),
            listed("TABLE", path=("furniture", "tables")),
            listed("STOOL"),
            listed("SPOON", path=("kitchen", "cutlery")),
        )

        assert offered(copy) == ["STOOL", "TABLE"]

    def test_is_near_in_price_and_the_nearest_first(self) -> None:
        copy = assortment(
            listed(ARMCHAIR, 10_000), listed("NEAR", 11_000), listed("FAR", 15_000), listed("LUXURY", 20_001)
        )

        assert offered(copy) == ["NEAR", "FAR"]

    def test_has_the_same_essential_attributes_where_both_have_them(self) -> None:
        copy = assortment(
            listed(ARMCHAIR, Size="L "), listed("SMALL", size="S"), listed("LARGE", size="l"), listed("UNSAID")
        )

        assert sorted(offered(copy)) == ["LARGE", "UNSAID"]

    def test_agrees_in_other_attributes_if_there_is_a_choice(self) -> None:
        copy = assortment(
            listed(ARMCHAIR, colour="red", material="oak"),
            listed("BLUE", colour="blue", material="oak"),
            listed("RED", colour="red", material="oak"),
        )

        assert offered(copy) == ["RED", "BLUE"]

    def test_is_there_in_the_whole_quantity(self) -> None:
        copy = assortment(listed(ARMCHAIR), listed("FEW"), listed("MANY"))

        assert offered(copy, {"FEW": 4, "MANY": 5}, quantity=5) == ["MANY"]

    def test_is_rather_what_there_is_plenty_of(self) -> None:
        copy = assortment(listed(ARMCHAIR), listed("LAST"), listed("PLENTY"))

        assert offered(copy, {"LAST": 1, "PLENTY": 50}) == ["PLENTY", "LAST"]

    def test_is_never_in_another_currency(self) -> None:
        assert offered(assortment(listed(ARMCHAIR), listed("STOOL", currency="EUR"))) == []

    def test_goes_by_titles_where_no_category_says_anything(self) -> None:
        copy = assortment(
            listed(ARMCHAIR, path=(), title="White hanging heart holder"),
            listed("RED", path=(), title="Red hanging heart holder"),
            listed("CLOCK", path=(), title="Alarm clock"),
        )

        assert offered(copy) == ["RED"]

    def test_says_why_and_scores_it(self) -> None:
        copy = assortment(listed(ARMCHAIR, colour="red", size="L"), listed("RED", 9_500, colour="red", size="L"))

        [one] = copy.alternatives(ARMCHAIR, lambda _: 12, quantity=1)

        assert one.reason == "same category, 5 % cheaper, same colour and size; 12 free"
        assert (one.price_minor, one.currency, one.available) == (9_500, "GBP", 12)
        assert 0.8 < one.score < 1

    def test_is_a_matter_of_configured_weights(self) -> None:
        told = (
            listed(ARMCHAIR, 10_000, colour="red"),
            listed("DEARER", 14_000, colour="red"),
            listed("BLUE", colour="b"),
        )
        by_price = AlternativesPolicy(weights=LikenessWeights(attributes=0))
        by_colour = AlternativesPolicy(weights=LikenessWeights(price=0))

        assert offered(assortment(*told, policy=by_price)) == ["BLUE", "DEARER"]
        assert offered(assortment(*told, policy=by_colour)) == ["DEARER", "BLUE"]


class TestWhatTheCatalogTells:
    def test_takes_away_what_is_delisted(self) -> None:
        assert offered(assortment(listed(ARMCHAIR), listed("STOOL"), delisted("STOOL"))) == []

    def test_finds_alternatives_to_what_is_delisted(self) -> None:
        assert offered(assortment(listed(ARMCHAIR), delisted(ARMCHAIR), listed("STOOL"))) == ["STOOL"]

    def test_counts_in_whatever_order_it_comes(self) -> None:
        copy = assortment(listed(ARMCHAIR), delisted("STOOL", version=2), listed("STOOL", version=1))

        assert offered(copy) == []

    def test_brings_back_what_is_listed_again(self) -> None:
        copy = assortment(listed(ARMCHAIR), listed("STOOL"), delisted("STOOL"), listed("STOOL", version=3))

        assert offered(copy) == ["STOOL"]

    def test_is_forgotten_with_a_deleted_record_and_may_begin_anew(self) -> None:
        copy = assortment(listed(ARMCHAIR), listed("STOOL", version=7))
        assert offered(copy) == ["STOOL"]

        copy.forget(b"STOOL")
        copy.forget(b"NEVER-HEARD-OF")
        assert offered(copy) == []

        copy.apply(listed("STOOL", version=1))
        assert offered(copy) == ["STOOL"]

    def test_says_nothing_until_it_has_been_read_to_its_end(self) -> None:
        copy = Assortment()
        copy.apply(listed(ARMCHAIR))
        copy.apply(listed("STOOL"))
        assert offered(copy) == []

        copy.complete()
        assert offered(copy) == ["STOOL"]

    def test_says_nothing_of_a_sku_that_it_does_not_know(self) -> None:
        assert offered(assortment(listed("STOOL"))) == []

    def test_moves_a_category_with_the_first_of_its_products(self) -> None:
        copy = assortment(listed(ARMCHAIR), listed("MOP", path=("garden", "mops")))
        assert offered(copy) == []

        copy.apply(listed("BROOM", path=("furniture", "mops"), after_minutes=1))
        # Whoever comes late with an old place changes nothing.
        copy.apply(listed("DUSTER", path=("garden", "mops")))
        assert sorted(offered(copy)) == ["BROOM", "DUSTER", "MOP"]

    def test_may_be_any_category_and_title_without_a_path(self) -> None:
        event = ProductChanged(
            sku="STOOL", title="\U0001f4ba", category="chairs", price_minor=0, currency="GBP", is_listed=True
        )
        free_of_charge = Envelope(id=uuid4(), event=event, time=NOON, source="test", aggregate_version=1)

        assert offered(assortment(listed(ARMCHAIR), free_of_charge)) == []
        assert offered(assortment(listed(ARMCHAIR, 0), free_of_charge)) == ["STOOL"]


_products = st.lists(
    st.builds(
        lambda number, price, path, size, is_listed: (f"SKU-{number}", price, path, size, is_listed),
        st.integers(0, 8),
        st.integers(0, 30_000),
        st.sampled_from([(), CHAIRS, ("furniture", "tables"), ("kitchen",)]),
        st.sampled_from(["S", "L", ""]),
        st.booleans(),
    ),
    max_size=25,
)


@given(_products, st.dictionaries(st.integers(0, 8).map("SKU-{}".format), st.integers(0, 9)), st.integers(1, 5))
def test_whatever_happened_before_only_what_may_be_is_offered_and_as_if_it_were_told_now(
    history: list[tuple[str, int, tuple[str, ...], str, bool]], free: Mapping[str, int], quantity: int
) -> None:
    policy = AlternativesPolicy(price_ratio_max=1.5)
    copy, latest = Assortment(policy), {}
    told = [("SKU-0", 10_000, CHAIRS, "L", True), *history]
    for version, (sku, price, path, size, is_listed) in enumerate(told, start=1):
        one = listed(sku, price, path=path, title="some thing", version=version, size=size)
        envelope = one if is_listed else replace_listed(one)
        copy.apply(envelope)
        latest[sku] = (envelope, price, size, is_listed)
    copy.complete()
    fresh = assortment(*(envelope for envelope, *_ in latest.values()), policy=policy)

    offers = copy.alternatives("SKU-0", lambda sku: free.get(sku, 0), quantity=quantity)

    assert offers == fresh.alternatives("SKU-0", lambda sku: free.get(sku, 0), quantity=quantity)
    assert [one.score for one in offers] == sorted((one.score for one in offers), reverse=True)
    _, price, size, _ = latest["SKU-0"]
    for offer in offers:
        _, other_price, other_size, is_listed = latest[offer.sku]
        assert offer.sku != "SKU-0"
        assert is_listed
        assert 0 <= offer.score <= 1
        assert free.get(offer.sku, 0) == offer.available >= quantity
        assert not price or max(price, other_price) <= 1.5 * min(price, other_price) + 1
        assert not (size and other_size) or size == other_size


def replace_listed(one: Envelope) -> Envelope:
    event = one.event
    assert isinstance(event, ProductListed)
    changed = ProductChanged(**{name: getattr(event, name) for name in event.__struct_fields__} | {"is_listed": False})
    return msgspec.structs.replace(one, event=changed)


class TestUnitsThatAnOrderCanUse:
    def test_are_those_of_warehouses_that_send_or_of_the_store_where_it_is_collected(self) -> None:
        free = {"LON": 2, "MAN": 3, "SOHO": 9}

        def units(*, collect_at: str | None = None, is_split_allowed: bool = True) -> int:
            return usable_units(free, sending={"LON", "MAN"}, collect_at=collect_at, is_split_allowed=is_split_allowed)

        assert units() == 5
        assert units(is_split_allowed=False) == 3
        assert units(collect_at="SOHO") == 9
        assert units(collect_at="PARIS") == 0
