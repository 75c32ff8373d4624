from typing import Any

import httpx
import pytest

from tests.integration.catalog.shop import Shop


@pytest.fixture
async def stocked(shop: Shop) -> Shop:
    await shop.put_category("christmas", "Christmas")
    await shop.put_category("kitchen", "Kitchen and dining")
    await shop.put_category("mugs", "Mugs", "kitchen")
    products: list[tuple[str, str, str | None, int, dict[str, Any]]] = [
        ("HOLLY-MUG", "Holly mug", "mugs", 500, {"description": "A mug for cold days."}),
        ("SPOTTY-PLATE", "Spotty plate", "kitchen", 700, {"description": "Goes with the holly mug."}),
        ("ANGEL-CARD", "Christmas card singing angel", "christmas", 250, {}),
        ("REINDEER-LAMP", "Reindeer lamp", "christmas", 2500, {"attributes": {"colour": "Röte", "mood": "jolly"}}),
        ("WOODEN-HEART", "Heart of wicker, large", None, 999, {}),
        ("LOST-MUG", "Forgotten mug", "mugs", 100, {"is_listed": False}),
    ]
    await shop.import_rows(
        [
            {"sku": sku, "title": title, "category": category, "price_minor": price, "currency": "GBP", **details}
            for sku, title, category, price, details in products
        ]
    )
    return shop


class TestRanking:
    async def test_puts_titles_before_categories_before_descriptions(self, stocked: Shop) -> None:
        await stocked.create("TEA-TOWEL", title="Tea towel", category="mugs")

        # In its title, in the name of its category, in its description.
        assert await stocked.found("mug") == ["HOLLY-MUG", "TEA-TOWEL", "SPOTTY-PLATE"]

    async def test_finds_stems_in_any_case(self, stocked: Shop) -> None:
        assert await stocked.found("SINGS angels") == ["ANGEL-CARD"]

    async def test_combines_words_of_the_title_and_of_the_categories_above(self, stocked: Shop) -> None:
        assert await stocked.found("dining holly") == ["HOLLY-MUG", "SPOTTY-PLATE"]

    async def test_finds_attributes_beyond_ascii_in_any_case(self, stocked: Shop) -> None:
        assert await stocked.found("RÖTE") == ["REINDEER-LAMP"]

    async def test_puts_the_product_whose_sku_it_is_first(self, stocked: Shop) -> None:
        await stocked.create("HOLLY", title="A plant", description="holly")
        await stocked.create("X-1", title="holly holly holly holly")

        assert (await stocked.found("holly"))[0] == "HOLLY"
        assert (await stocked.found("spotty-plate"))[0] == "SPOTTY-PLATE"

    async def test_understands_phrases_and_exclusions(self, stocked: Shop) -> None:
        assert await stocked.found('"holly mug" -plate') == ["HOLLY-MUG"]

    async def test_never_shows_what_is_not_listed(self, stocked: Shop) -> None:
        assert await stocked.found("forgotten") == []
        assert await stocked.found("forgoten mug") == ["HOLLY-MUG"]


class TestTypos:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("chrstmas crad", "ANGEL-CARD"),
            ("raindeer", "REINDEER-LAMP"),
            ("wiker hart", "WOODEN-HEART"),
            ("spoty plte", "SPOTTY-PLATE"),
            ("spaceship", None),
        ],
    )
    async def test_find_similar_words_where_none_are_the_same(
        self, stocked: Shop, query: str, expected: str | None
    ) -> None:
        answer = (await stocked.http.get("/v1/search", params={"q": query})).json()

        assert [item["sku"] for item in answer["items"]][:1] == ([expected] if expected else [])
        assert answer["matched_by"] == "similarity"

    async def test_do_not_widen_what_was_found_by_its_words(self, stocked: Shop) -> None:
        await stocked.create("CART", title="Carts and cards")

        answer = (await stocked.http.get("/v1/search", params={"q": "angel"})).json()

        assert [item["sku"] for item in answer["items"]] == ["ANGEL-CARD"]
        assert answer["matched_by"] == "words"


class TestFilters:
    async def test_narrow_to_a_category_and_all_below_it(self, stocked: Shop) -> None:
        assert await stocked.found("holly", category="kitchen") == ["HOLLY-MUG", "SPOTTY-PLATE"]
        assert await stocked.found("holly", category="mugs") == ["HOLLY-MUG"]

    async def test_narrow_to_prices_of_a_currency(self, stocked: Shop) -> None:
        assert await stocked.found("holly", price_max_minor=500) == ["HOLLY-MUG"]
        assert await stocked.found("holly", price_min_minor=501) == ["SPOTTY-PLATE"]
        assert await stocked.found("holly", currency="EUR") == []

    @pytest.mark.parametrize(
        ("parameters", "field"),
        [
            ({}, "q"),
            ({"q": "  "}, "q"),
            ({"q": "x" * 201}, "q"),
            ({"q": "mug", "price_min_minor": "-1"}, "price_min_minor"),
            ({"q": "mug", "limit": "201"}, "limit"),
            ({"q": "mug", "cursor": "WzFd"}, "cursor"),
        ],
    )
    async def test_are_refused_by_name(self, http: httpx.AsyncClient, parameters: dict[str, str], field: str) -> None:
        answer = await http.get("/v1/search", params=parameters)

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)

    @pytest.mark.parametrize("query", ["'; DROP TABLE products; --", "%_\\", "((", "!&|", '"', "-", "é́", "the", "<->"])
    async def test_survive_any_text(self, http: httpx.AsyncClient, shop: Shop, query: str) -> None:
        await shop.create("HOLLY-MUG", title="Holly mug")

        assert (await http.get("/v1/search", params={"q": query})).status_code == 200
        assert (await http.get("/v1/products", params={"q": query})).status_code == 200
        assert await shop.found("holly") == ["HOLLY-MUG"]


class TestPages:
    @pytest.mark.parametrize("query", ["thing", "thingg"], ids=["by words", "by similarity"])
    @pytest.mark.parametrize("limit", [1, 3, 7])
    async def test_meet_without_gap_or_overlap(
        self, http: httpx.AsyncClient, shop: Shop, query: str, limit: int
    ) -> None:
        titles = ["Thing", "Thing thing", "A thing of beauty", "Thing", "Some odd thing", "Thing", "Thing again", "Nil"]
        await shop.import_rows(
            [
                {"sku": f"SKU-{number}", "title": title, "price_minor": 1, "currency": "GBP"}
                for number, title in enumerate(titles)
            ]
        )
        whole = (await http.get("/v1/search", params={"q": query, "limit": 50})).json()["items"]
        seen: list[str] = []
        parameters: dict[str, str | int] = {"q": query, "limit": limit}
        while True:
            page = (await http.get("/v1/search", params=parameters)).json()
            seen.extend(item["sku"] for item in page["items"])
            if page["next_cursor"] is None:
                break
            parameters["cursor"] = page["next_cursor"]

        assert seen == [item["sku"] for item in whole]
        assert len(seen) == 7

    async def test_count_hits_by_category_if_asked(self, stocked: Shop) -> None:
        answer = (
            await stocked.http.get("/v1/search", params={"q": "holly OR wicker", "facets": "true", "limit": 1})
        ).json()

        assert sorted(answer["facets"], key=lambda facet: facet["category"] or "") == [
            {"category": None, "name": None, "products": 1},
            {"category": "kitchen", "name": "Kitchen and dining", "products": 1},
            {"category": "mugs", "name": "Mugs", "products": 1},
        ]
