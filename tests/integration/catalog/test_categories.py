import asyncio
from uuid import uuid4

import httpx
import pytest

from services.catalog.domain.category import CategoryDetails
from services.catalog.domain.expectation import ANYTHING
from services.catalog.domain.product import ProductDetails
from services.catalog.handlers.categories import put_category
from services.catalog.handlers.products import create_product
from tests.integration.catalog.shop import Shop
from tests.support.eventually import eventually


class TestCreate:
    async def test_answers_with_the_place_in_the_tree(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.put_category("home", "Home")

        answer = await http.post(
            "/v1/categories",
            json={"code": "lamps", "name": "Lamps", "parent": "home"},
            headers={"Idempotency-Key": str(uuid4())},
        )

        assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/categories/lamps")
        assert (await http.get("/v1/categories/lamps")).json()["ancestors"] == ["home"]

    async def test_of_a_taken_code_is_refused(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.put_category("home", "Home")

        answer = await http.post(
            "/v1/categories", json={"code": "home", "name": "House"}, headers={"Idempotency-Key": "k"}
        )

        assert (answer.status_code, answer.json()["code"]) == (409, "category-already-exists")


class TestPut:
    async def test_repeated_changes_nothing(self, shop: Shop) -> None:
        first = await shop.put_category("home", "Home")

        second = await shop.put_category("home", "Home")

        assert (first.status_code, second.status_code) == (201, 200)
        assert second.headers["ETag"] == '"1"'

    async def test_below_an_unknown_parent_is_refused(self, shop: Shop) -> None:
        answer = await shop.put_category("lamps", "Lamps", "nowhere")

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "parent")

    async def test_below_itself_is_refused(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.put_category("home", "Home")
        await shop.put_category("lamps", "Lamps", "home")

        answer = await shop.put_category("home", "Home", "lamps")

        assert (answer.status_code, answer.json()["code"]) == (409, "category-cycle")
        assert (await http.get("/v1/categories/home")).json()["parent"] is None

    async def test_moves_what_lies_below_along(self, http: httpx.AsyncClient, shop: Shop) -> None:
        for code, parent in [("home", None), ("garden", None), ("lamps", "home"), ("lanterns", "lamps")]:
            await shop.put_category(code, code.title(), parent)

        await shop.put_category("lamps", "Lamps", "garden")

        lanterns = (await http.get("/v1/categories/lanterns")).json()
        assert (lanterns["ancestors"], lanterns["version"]) == (["garden", "lamps"], 1)

    async def test_of_two_that_would_close_a_circle_lets_one_through(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.put_category("chairs", "Chairs")
        await shop.put_category("stools", "Stools")

        answers = await asyncio.gather(
            shop.put_category("chairs", "Chairs", "stools"), shop.put_category("stools", "Stools", "chairs")
        )

        assert sorted(answer.status_code for answer in answers) == [200, 409]
        parents = [(await http.get(f"/v1/categories/{code}")).json()["parent"] for code in ("chairs", "stools")]
        assert parents.count(None) == 1

    async def test_renames_where_products_are_found(self, shop: Shop) -> None:
        await shop.put_category("home", "Home")
        await shop.put_category("lamps", "Lamps", "home")
        await shop.create("AMBER-GLOW", title="Amber glow", category="lamps")

        await shop.put_category("home", "Household")

        assert await shop.found("household glow") == ["AMBER-GLOW"]
        assert [version for _, _, version in await shop.told()] == [1]


class TestRenameMeetingAProduct:
    """A product's copy of its category's name is right whichever of the two transactions is first."""

    @pytest.fixture
    async def home(self, shop: Shop) -> CategoryDetails:
        await shop.put_category("home", "Home")
        return CategoryDetails(name="Household")

    async def test_lets_a_product_wait_for_the_new_name(self, shop: Shop, home: CategoryDetails) -> None:
        async with asyncio.TaskGroup() as group, shop.database.transaction() as transaction:
            await put_category(code="home", details=home, expected=ANYTHING, unit=shop.unit_of(transaction))
            product = group.create_task(shop.create("AMBER-GLOW", category="home"))
            await eventually(lambda: is_waiting_or_done(shop, product))

        assert await shop.found("household") == ["AMBER-GLOW"]

    async def test_waits_for_a_product_with_the_old_name(self, shop: Shop, home: CategoryDetails) -> None:
        glow = ProductDetails(title="Amber glow", price_minor=1, currency="GBP", category="home")
        async with asyncio.TaskGroup() as group, shop.database.transaction() as transaction:
            await create_product(sku="AMBER-GLOW", details=glow, unit=shop.unit_of(transaction))
            renamed = group.create_task(shop.put_category("home", home.name))
            await eventually(lambda: is_waiting_or_done(shop, renamed))

        assert await shop.found("household") == ["AMBER-GLOW"]


async def is_waiting_or_done(shop: Shop, task: asyncio.Task[httpx.Response]) -> bool:
    async with shop.database.transaction() as transaction:
        driver = await transaction.driver()
        waiting = await driver.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    return bool(waiting) or task.done()


class TestImport:
    async def test_takes_parents_in_any_order_and_refuses_row_by_row(self, http: httpx.AsyncClient, shop: Shop) -> None:
        await shop.put_category("garden", "Garden")
        lines = [
            '{"code": "lanterns", "name": "Lanterns", "parent": "lamps"}',
            '{"code": "lamps", "name": "Lamps", "parent": "home"}',
            '{"code": "home", "name": "Home"}',
            '{"code": "orphan", "name": "Orphan", "parent": "nowhere"}',
            '{"code": "below", "name": "Below the orphan", "parent": "orphan"}',
            '{"code": "garden", "name": "Garden"}',
            '{"code": "blank", "name": "  "}',
        ]

        answer = await http.post(
            "/v1/categories/import",
            content="\n".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )

        result = answer.json()
        assert (result["accepted"], result["unchanged"], result["rejected"]) == (3, 1, 3)
        assert [(one["row"], one["field"], one["code"]) for one in result["errors"]] == [
            (4, "parent", "unknown-category"),
            (5, "parent", "unknown-category"),
            (7, "name", "invalid-value"),
        ]
        listed = (await http.get("/v1/categories", params={"limit": 200})).json()["items"]
        assert [item["code"] for item in listed] == ["garden", "home", "lamps", "lanterns"]


class TestList:
    @pytest.mark.parametrize("limit", [1, 2, 3, 4])
    async def test_pages_meet_without_gap_or_overlap(self, http: httpx.AsyncClient, shop: Shop, limit: int) -> None:
        for code in ("rugs", "lamps", "vases"):
            await shop.put_category(code, code.title())
        seen: list[str] = []
        parameters: dict[str, str | int] = {"limit": limit}
        while True:
            page = (await http.get("/v1/categories", params=parameters)).json()
            seen.extend(item["code"] for item in page["items"])
            if page["next_cursor"] is None:
                break
            parameters["cursor"] = page["next_cursor"]

        assert seen == ["lamps", "rugs", "vases"]

    async def test_shows_the_children_of_one(self, http: httpx.AsyncClient, shop: Shop) -> None:
        for code, parent in [("home", None), ("lamps", "home"), ("lanterns", "lamps")]:
            await shop.put_category(code, code.title(), parent)

        page = (await http.get("/v1/categories", params={"parent": "home"})).json()

        assert [item["code"] for item in page["items"]] == ["lamps"]
