import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from libs.common.events.catalog import ProductListed, ProductPriceChanged
from tests.integration.catalog.shop import NOON, Shop

ARMCHAIR: dict[str, Any] = {
    "title": "Crunchy armchair",
    "description": "It crunches.",
    "price_minor": 19900,
    "currency": "GBP",
    "attributes": {"colour": "red"},
}


class TestCreate:
    async def test_answers_with_the_product_and_where_it_is(self, shop: Shop) -> None:
        answer = await shop.create("CRUNCHY-ARMCHAIR", **ARMCHAIR)

        assert answer.status_code == 201
        assert answer.headers["Location"] == "/v1/products/CRUNCHY-ARMCHAIR"
        assert answer.headers["ETag"] == '"1"'
        assert answer.json() == {
            "sku": "CRUNCHY-ARMCHAIR",
            "version": 1,
            "title": "Crunchy armchair",
            "description": "It crunches.",
            "category": None,
            "price_minor": 19900,
            "currency": "GBP",
            "attributes": {"colour": "red"},
            "is_listed": True,
            "listed_at": "2011-06-01T12:00:00Z",
            "created_at": "2011-06-01T12:00:00Z",
            "changed_at": "2011-06-01T12:00:00Z",
        }

    async def test_publishes_the_listing_in_the_same_transaction(self, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR", **ARMCHAIR)

        [envelope] = await shop.events()
        assert envelope.event.type == "product.listed"
        assert envelope.aggregate_version == 1
        assert envelope.source == "catalog"
        assert envelope.event.key == "CRUNCHY-ARMCHAIR"

    async def test_tells_where_its_category_lies(self, shop: Shop) -> None:
        await shop.put_category("furniture", "Furniture")
        await shop.put_category("chairs", "Chairs", parent="furniture")
        await shop.create("CRUNCHY-ARMCHAIR", **{**ARMCHAIR, "category": "chairs"})

        [envelope] = await shop.events()
        assert isinstance(envelope.event, ProductListed)
        assert envelope.event.category_path == ["furniture", "chairs"]

    async def test_of_a_product_not_for_sale_yet_tells_no_listing(self, shop: Shop) -> None:
        await shop.create("FUTURE-LAMP", is_listed=False)

        assert await shop.told() == [("FUTURE-LAMP", "product.changed", 1)]

    async def test_with_the_same_key_gives_the_same_answer_once(self, http: httpx.AsyncClient, shop: Shop) -> None:
        body = {"sku": "CRUNCHY-ARMCHAIR", **ARMCHAIR}
        first = await http.post("/v1/products", json=body, headers={"Idempotency-Key": "k1"})
        second = await http.post("/v1/products", json=body, headers={"Idempotency-Key": "k1"})

        assert (second.status_code, second.json()) == (201, first.json())
        assert second.headers["Idempotent-Replayed"] == "true"
        assert len(await shop.events()) == 1

    async def test_of_a_taken_sku_is_refused(self, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")

        answer = await shop.create("CRUNCHY-ARMCHAIR")

        assert answer.status_code == 409
        assert answer.json()["code"] == "product-already-exists"

    async def test_leaves_its_key_free_when_refused(self, http: httpx.AsyncClient, shop: Shop) -> None:
        body = {"sku": "CRUNCHY-ARMCHAIR", **ARMCHAIR, "category": "armchairs"}
        refused = await http.post("/v1/products", json=body, headers={"Idempotency-Key": "k1"})
        await shop.put_category("armchairs", "Armchairs")

        answer = await http.post("/v1/products", json=body, headers={"Idempotency-Key": "k1"})

        assert refused.json()["errors"][0]["field"] == "category"
        assert (refused.status_code, answer.status_code) == (422, 201)

    async def test_by_many_at_once_has_one_winner(self, shop: Shop) -> None:
        answers = await asyncio.gather(*(shop.create("CRUNCHY-ARMCHAIR", title=f"Try {n}") for n in range(8)))

        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
        assert await shop.told() == [("CRUNCHY-ARMCHAIR", "product.listed", 1)]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("sku", "has spaces"),
            ("sku", ""),
            ("sku", "X" * 65),
            ("title", "   "),
            ("title", "two\nlines"),
            ("price_minor", -1),
            ("price_minor", 2**53),
            ("price_minor", 19.5),
            ("price_minor", "1999"),
            ("price_minor", True),
            ("currency", "gbp"),
            ("attributes", {"colour": 3}),
            ("attributes", {"": "x"}),
            ("is_listed", "yes"),
            ("colour", "red"),
        ],
    )
    async def test_refuses_bad_input_by_the_name_of_its_field(self, shop: Shop, field: str, value: Any) -> None:
        answer = await shop.create(**{"sku": "CRUNCHY-ARMCHAIR", **ARMCHAIR, field: value})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].split(".")[0] == field
        assert await shop.events() == []


class TestPut:
    async def test_creates_what_is_missing(self, http: httpx.AsyncClient) -> None:
        answer = await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)

        assert answer.status_code == 201
        assert answer.headers["ETag"] == '"1"'

    async def test_repeated_changes_and_publishes_nothing(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)
        shop.clock.advance(timedelta(hours=1))

        answer = await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)

        assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
        assert answer.json()["changed_at"] == "2011-06-01T12:00:00Z"
        assert len(await shop.events()) == 1

    async def test_of_another_price_tells_the_one_before(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)

        await http.put("/v1/products/CRUNCHY-ARMCHAIR", json={**ARMCHAIR, "price_minor": 14900})

        event = (await shop.events())[1].event
        assert isinstance(event, ProductPriceChanged)
        assert (event.previous_price_minor, event.price_minor) == (19900, 14900)

    async def test_based_on_an_old_version_is_refused(self, http: httpx.AsyncClient) -> None:
        await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)
        await http.put("/v1/products/CRUNCHY-ARMCHAIR", json={**ARMCHAIR, "title": "Loud armchair"})

        answer = await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR, headers={"If-Match": '"1"'})

        assert answer.status_code == 412
        assert (await http.get("/v1/products/CRUNCHY-ARMCHAIR")).json()["title"] == "Loud armchair"

    async def test_meant_to_create_only_never_replaces(self, http: httpx.AsyncClient) -> None:
        await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)

        answer = await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR, headers={"If-None-Match": "*"})

        assert answer.status_code == 412


class TestPatch:
    async def test_changes_what_is_named_and_keeps_the_rest(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR", **{**ARMCHAIR, "attributes": {"colour": "red", "legs": "4"}})

        answer = await http.patch(
            "/v1/products/CRUNCHY-ARMCHAIR",
            json={"title": "Loud armchair", "description": None, "attributes": {"legs": None, "seat": "cork"}},
        )

        product = answer.json()
        assert (product["title"], product["description"], product["version"]) == ("Loud armchair", "", 2)
        assert product["attributes"] == {"colour": "red", "seat": "cork"}
        assert product["price_minor"] == 19900

    @pytest.mark.parametrize("field", ["title", "price_minor", "currency", "is_listed"])
    async def test_cannot_remove_what_a_product_needs(self, http: httpx.AsyncClient, shop: Shop, field: str) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")

        answer = await http.patch("/v1/products/CRUNCHY-ARMCHAIR", json={field: None})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field

    async def test_cannot_grow_the_attributes_beyond_the_limit(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR", attributes={f"a{n}": "x" for n in range(50)})

        answer = await http.patch("/v1/products/CRUNCHY-ARMCHAIR", json={"attributes": {"one-more": "x"}})

        assert answer.status_code == 422
        assert answer.json()["code"] == "too-many-attributes"

    async def test_of_one_version_by_many_at_once_has_one_winner(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR", **ARMCHAIR)

        answers = await asyncio.gather(
            *(
                http.patch("/v1/products/CRUNCHY-ARMCHAIR", json={"price_minor": price}, headers={"If-Match": '"1"'})
                for price in range(100, 108)
            )
        )

        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
        assert (await http.get("/v1/products/CRUNCHY-ARMCHAIR")).json()["version"] == 2

    async def test_without_a_condition_keeps_every_change_and_its_place(
        self, http: httpx.AsyncClient, shop: Shop
    ) -> None:
        await shop.create("CRUNCHY-ARMCHAIR", attributes={})

        await asyncio.gather(
            *(http.patch("/v1/products/CRUNCHY-ARMCHAIR", json={"attributes": {f"a{n}": "x"}}) for n in range(8))
        )

        product = (await http.get("/v1/products/CRUNCHY-ARMCHAIR")).json()
        assert sorted(product["attributes"]) == [f"a{n}" for n in range(8)]
        assert [version for _, _, version in await shop.told()] == list(range(1, 10))

    async def test_of_an_unknown_product_is_refused(self, http: httpx.AsyncClient) -> None:
        answer = await http.patch("/v1/products/NO-SUCH-THING", json={"title": "Nothing"})

        assert (answer.status_code, answer.json()["code"]) == (404, "product-not-found")


class TestDelist:
    async def test_keeps_the_product_and_tells_it_once(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")

        first = await http.delete("/v1/products/CRUNCHY-ARMCHAIR")
        second = await http.delete("/v1/products/CRUNCHY-ARMCHAIR")

        assert (first.status_code, second.status_code) == (204, 204)
        assert (await http.get("/v1/products/CRUNCHY-ARMCHAIR")).json()["is_listed"] is False
        assert await shop.told() == [
            ("CRUNCHY-ARMCHAIR", "product.listed", 1),
            ("CRUNCHY-ARMCHAIR", "product.delisted", 2),
        ]

    async def test_can_be_undone_without_becoming_new(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")
        await http.delete("/v1/products/CRUNCHY-ARMCHAIR")
        shop.clock.advance(timedelta(days=3))

        answer = await http.patch("/v1/products/CRUNCHY-ARMCHAIR", json={"is_listed": True})

        assert answer.json()["listed_at"] == "2011-06-01T12:00:00Z"
        assert (await shop.told())[-1] == ("CRUNCHY-ARMCHAIR", "product.listed", 3)

    async def test_of_an_unknown_product_is_refused(self, http: httpx.AsyncClient) -> None:
        assert (await http.delete("/v1/products/NO-SUCH-THING")).status_code == 404


class TestShow:
    async def test_saves_the_body_for_whoever_has_the_version(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")

        answer = await http.get("/v1/products/CRUNCHY-ARMCHAIR", headers={"If-None-Match": 'W/"1"'})

        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", '"1"')

    async def test_refuses_a_malformed_tag_by_name(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")

        answer = await http.get("/v1/products/CRUNCHY-ARMCHAIR", headers={"If-None-Match": "1"})

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "If-None-Match")


class TestList:
    @pytest.fixture
    async def five(self, shop: Shop) -> list[str]:
        prices = {"AMBER-LAMP": 300, "BLUE-VASE": 100, "CORK-STOOL": 300, "DULL-MIRROR": 200, "ECRU-RUG": 500}
        for sku, price in prices.items():
            await shop.create(sku, title=sku.lower()[::-1], price_minor=price)
            shop.clock.advance(timedelta(minutes=1))
        await shop.http.delete("/v1/products/DULL-MIRROR")
        return list(prices)

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            ("newest", ["ECRU-RUG", "CORK-STOOL", "BLUE-VASE", "AMBER-LAMP"]),
            # Equal prices follow the SKU.
            ("price", ["BLUE-VASE", "AMBER-LAMP", "CORK-STOOL", "ECRU-RUG"]),
            # By the titles: esav-eulb, gur-urce, loots-kroc, pmal-rebma.
            ("title", ["BLUE-VASE", "ECRU-RUG", "CORK-STOOL", "AMBER-LAMP"]),
        ],
    )
    @pytest.mark.parametrize("limit", [1, 3, 4])
    @pytest.mark.usefixtures("five")
    async def test_pages_meet_without_gap_or_overlap(
        self, http: httpx.AsyncClient, sort: str, expected: list[str], limit: int
    ) -> None:
        seen: list[str] = []
        parameters: dict[str, str | int] = {"sort": sort, "limit": limit}
        while True:
            page = (await http.get("/v1/products", params=parameters)).json()
            seen.extend(item["sku"] for item in page["items"])
            if page["next_cursor"] is None:
                break
            parameters["cursor"] = page["next_cursor"]

        assert seen == expected

    @pytest.mark.usefixtures("five")
    async def test_can_show_what_is_delisted(self, http: httpx.AsyncClient) -> None:
        page = (await http.get("/v1/products", params={"status": "delisted"})).json()

        assert [item["sku"] for item in page["items"]] == ["DULL-MIRROR"]

    @pytest.mark.usefixtures("five")
    async def test_refuses_the_cursor_of_another_order(self, http: httpx.AsyncClient) -> None:
        page = (await http.get("/v1/products", params={"sort": "price", "limit": 1})).json()

        answer = await http.get("/v1/products", params={"sort": "title", "cursor": page["next_cursor"]})

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")

    async def test_narrows_by_category_tree_and_words(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.put_category("home", "Home")
        await shop.put_category("lamps", "Lamps", "home")
        await shop.create("AMBER-LAMP", title="Amber light", category="lamps")
        await shop.create("BLUE-VASE", title="Blue vase", category="home")
        await shop.create("CORK-STOOL", title="Amber stool")

        below_home = (await http.get("/v1/products", params={"category": "home", "sort": "title"})).json()
        amber_at_home = (await http.get("/v1/products", params={"category": "home", "q": "amber"})).json()

        assert [item["sku"] for item in below_home["items"]] == ["AMBER-LAMP", "BLUE-VASE"]
        assert [item["sku"] for item in amber_at_home["items"]] == ["AMBER-LAMP"]


class TestDescription:
    async def test_names_every_operation_and_its_scopes(self, http: httpx.AsyncClient) -> None:
        paths = (await http.get("/openapi.json")).json()["paths"]

        operations = [operation for methods in paths.values() for operation in methods.values()]
        assert len({operation["operationId"] for operation in operations}) == len(operations) == 13
        assert {scope for operation in operations for scope in operation["x-required-scopes"]} == {
            "catalog:read",
            "catalog:write",
        }


class TestAccess:
    @pytest.mark.parametrize(("caller", "status"), [("nobody", 401), ("stranger", 403), ("reader", 403)], ids=str)
    async def test_to_writes_needs_the_scope(self, shop: Shop, caller: str, status: int) -> None:
        async with shop.as_(caller) as http:
            answer = await http.put("/v1/products/CRUNCHY-ARMCHAIR", json=ARMCHAIR)

        assert answer.status_code == status

    async def test_to_reads_needs_no_more_than_reading(self, shop: Shop) -> None:
        await shop.create("CRUNCHY-ARMCHAIR")

        async with shop.as_("reader") as http:
            answer = await http.get("/v1/products/CRUNCHY-ARMCHAIR")

        assert answer.status_code == 200
        assert answer.json()["created_at"].startswith(f"{NOON:%Y-%m-%dT%H}")
