from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.catalog import ProductPriceChanged
from services.catalog.domain.product import (
    Product,
    ProductDetails,
    TooManyAttributes,
    change_between,
    event_of,
)

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
ARMCHAIR = ProductDetails(title="Crunchy armchair", price_minor=19900, currency="GBP", attributes={"colour": "red"})
UNLISTED = replace(ARMCHAIR, is_listed=False)


def a_product(details: ProductDetails = ARMCHAIR) -> Product:
    return Product.new("CRUNCHY-ARMCHAIR", details, NOON)


class TestNew:
    def test_begins_at_version_one_and_is_listed_at_once(self) -> None:
        product = a_product()

        assert (product.version, product.listed_at) == (1, NOON)

    def test_has_no_listing_time_before_it_was_listed(self) -> None:
        assert a_product(UNLISTED).listed_at is None


class TestWithDetails:
    def test_returns_the_very_product_if_nothing_differs(self) -> None:
        product = a_product()

        assert product.with_details(replace(ARMCHAIR, attributes={"colour": "red"}), LATER) is product

    def test_counts_the_version_and_keeps_when_it_was_made(self) -> None:
        after = a_product().with_details(replace(ARMCHAIR, title="Loud armchair"), LATER)

        assert (after.version, after.created_at, after.changed_at) == (2, NOON, LATER)

    def test_keeps_the_time_of_the_first_listing(self) -> None:
        relisted = a_product().delisted(LATER).with_details(ARMCHAIR, LATER + timedelta(days=1))

        assert relisted.listed_at == NOON

    def test_notes_the_first_listing_when_it_comes_later(self) -> None:
        assert a_product(UNLISTED).with_details(ARMCHAIR, LATER).listed_at == LATER


class TestChangeBetween:
    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            pytest.param(None, ARMCHAIR, "listed", id="first listing"),
            pytest.param(None, UNLISTED, "changed", id="created unlisted"),
            pytest.param(UNLISTED, ARMCHAIR, "listed", id="listed later"),
            pytest.param(ARMCHAIR, UNLISTED, "delisted", id="delisted"),
            pytest.param(ARMCHAIR, replace(UNLISTED, price_minor=1), "delisted", id="delisted and repriced"),
            pytest.param(UNLISTED, replace(ARMCHAIR, price_minor=1), "listed", id="relisted and repriced"),
            pytest.param(ARMCHAIR, replace(ARMCHAIR, price_minor=1), "price-changed", id="repriced"),
            pytest.param(
                ARMCHAIR, replace(ARMCHAIR, price_minor=1, title="New"), "price-changed", id="repriced and renamed"
            ),
            pytest.param(
                ARMCHAIR, replace(ARMCHAIR, price_minor=1, currency="EUR"), "changed", id="in another currency"
            ),
            pytest.param(ARMCHAIR, replace(ARMCHAIR, description="It crunches."), "changed", id="described"),
        ],
    )
    def test_names_what_matters_most(self, before: ProductDetails | None, after: ProductDetails, expected: str) -> None:
        product = None if before is None else a_product(before)

        changed = a_product(after) if product is None else product.with_details(after, LATER)

        assert change_between(product, changed) == expected


class TestEventOf:
    def test_carries_the_whole_product(self) -> None:
        event = event_of(None, a_product())

        assert event.type == "product.listed"
        assert event == type(event)(
            sku="CRUNCHY-ARMCHAIR",
            title="Crunchy armchair",
            category=None,
            price_minor=19900,
            currency="GBP",
            is_listed=True,
            attributes={"colour": "red"},
            listed_at=NOON,
        )

    def test_of_a_new_price_tells_the_one_before(self) -> None:
        product = a_product()

        event = event_of(product, product.with_details(replace(ARMCHAIR, price_minor=100), LATER))

        assert isinstance(event, ProductPriceChanged)
        assert (event.previous_price_minor, event.price_minor) == (19900, 100)


DETAILS = st.builds(
    ProductDetails,
    title=st.sampled_from(["Armchair", "Stool"]),
    price_minor=st.integers(0, 2),
    currency=st.sampled_from(["GBP", "EUR"]),
    category=st.sampled_from([None, "chairs"]),
    attributes=st.dictionaries(st.just("colour"), st.sampled_from(["red", "blue"]), max_size=1),
    is_listed=st.booleans(),
)


class TestHistory:
    @given(DETAILS, st.lists(DETAILS, max_size=20))
    def test_tells_each_difference_once_so_that_its_last_event_is_the_state(
        self, first: ProductDetails, following: list[ProductDetails]
    ) -> None:
        product = a_product(first)
        told = [event_of(None, product)]
        for details in following:
            after = product.with_details(details, LATER)
            if after is not product:
                told.append(event_of(product, after))
            product = after

        assert product.version == len(told)
        assert product.details == (following or [first])[-1]
        last = msgspec.structs.asdict(told[-1])
        assert {name: last[name] for name in ("title", "price_minor", "currency", "category", "is_listed")} == {
            "title": product.details.title,
            "price_minor": product.details.price_minor,
            "currency": product.details.currency,
            "category": product.details.category,
            "is_listed": product.details.is_listed,
        }


class TestAttributes:
    def test_are_limited_in_number(self) -> None:
        with pytest.raises(TooManyAttributes):
            replace(ARMCHAIR, attributes={f"a{number}": "x" for number in range(51)})
