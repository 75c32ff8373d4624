import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.catalog.api.imports import BATCH_ROWS_MAX
from tests.integration.catalog.shop import Shop
from tests.support.postgres import FreshDatabase

# The statement fails inside the transaction, after the rows before it were written.
FAILING_TRIGGER = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.sku = 'UNLUCKY-VASE' AND nextval('failures') <= {failures} THEN
        RAISE EXCEPTION 'the server went away' USING ERRCODE = '57P01';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION fail()
"""
NO_TRIGGER = "DROP TRIGGER fail ON products; DROP FUNCTION fail; DROP SEQUENCE failures"


def a_row(sku: str, **details: Any) -> dict[str, Any]:
    return {"sku": sku, "title": f"The {sku}", "price_minor": 500, "currency": "GBP", **details}


def shuffled(rows: Sequence[Mapping[str, Any]], seed: int) -> list[Mapping[str, Any]]:
    return random.Random(seed).sample(rows, len(rows))  # noqa: S311 - no secret


async def execute(database: FreshDatabase, statements: str) -> None:
    async with database.transaction() as transaction:
        await (await transaction.driver()).execute(statements)


@asynccontextmanager
async def failing(database: FreshDatabase, *, failures: int) -> AsyncIterator[None]:
    """Let the database fail so many times when it is to store UNLUCKY-VASE."""
    await execute(database, FAILING_TRIGGER.format(failures=failures))
    try:
        yield
    finally:
        await execute(database, NO_TRIGGER)


async def stored(database: FreshDatabase) -> list[tuple[str, int, str]]:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        rows = await driver.fetch("SELECT sku, version, title FROM products ORDER BY sku")
    return [(row["sku"], row["version"], row["title"]) for row in rows]


class TestImport:
    async def test_applies_the_good_rows_and_names_what_is_wrong_with_the_others(self, shop: Shop) -> None:
        lines = [
            json.dumps(a_row("AMBER-LAMP")),
            "",
            "{not json",
            json.dumps(a_row("BLUE-VASE", price_minor=-1)),
            json.dumps({"sku": "CORK-STOOL"}),
            json.dumps(a_row("DULL-MIRROR", colour="grey")),
            json.dumps(a_row("ECRU-RUG", category="rugs")),
            json.dumps(a_row("AMBER-LAMP", title="Another")),
            '{"sku": "NUL", "title": "a\\u0000b", "price_minor": 1, "currency": "GBP"}',
            json.dumps(a_row("FAWN-SOFA")),
        ]

        result = await shop.import_lines("\n".join(lines))

        assert (result["accepted"], result["unchanged"], result["rejected"]) == (2, 0, 7)
        assert [(one["row"], one["field"], one["code"]) for one in result["errors"]] == [
            (3, None, "malformed-json"),
            (4, "price_minor", "invalid-value"),
            (5, "title", "missing-field"),
            (6, "colour", "unknown-field"),
            (7, "category", "unknown-category"),
            (8, "sku", "repeated-sku"),
            (9, "title", "unstorable-text"),
        ]
        assert [sku for sku, _, _ in await stored(shop.database)] == ["AMBER-LAMP", "FAWN-SOFA"]

    async def test_repeated_changes_and_publishes_nothing(self, shop: Shop) -> None:
        rows = [a_row("AMBER-LAMP"), a_row("BLUE-VASE", attributes={"size": "L"})]
        await shop.import_rows(rows)
        told = await shop.told()

        again = await shop.import_rows(rows)

        assert (again["accepted"], again["unchanged"], again["rejected"]) == (0, 2, 0)
        assert await shop.told() == told

    async def test_takes_five_thousand_products(self, shop: Shop) -> None:
        rows = [a_row(f"THING-{number:04}", price_minor=number) for number in range(5_000)]

        result = await shop.import_rows(shuffled(rows, 7))

        assert (result["accepted"], result["rejected"]) == (5_000, 0)
        assert sorted(await shop.told()) == [(f"THING-{n:04}", "product.listed", 1) for n in range(5_000)]

    async def test_reads_csv_with_attributes_as_columns(self, shop: Shop) -> None:
        await shop.put_category("vases", "Vases")
        content = (
            "sku,title,price_minor,currency,category,is_listed,attribute.colour,attribute.size\r\n"
            '"BLUE-VASE","A vase, ""blue""",500,GBP,vases,yes,blue,L\r\n'
            "CORK-STOOL,A stool,700,GBP,,no,,\r\n"
            "DULL-MIRROR,A mirror,7.5,GBP,,,,\r\n"
            "ECRU-RUG,A rug,700,GBP,,maybe,,\r\n"
            "FAWN-SOFA,A sofa,700\r\n"
        )

        result = await shop.import_lines(content, media_type="text/csv; charset=utf-8")

        assert [(one["row"], one["field"], one["code"]) for one in result["errors"]] == [
            (3, "price_minor", "invalid-value"),
            (4, "is_listed", "invalid-value"),
            (5, None, "malformed-row"),
        ]
        vase = (await shop.http.get("/v1/products/BLUE-VASE")).json()
        assert (vase["title"], vase["category"]) == ('A vase, "blue"', "vases")
        assert vase["attributes"] == {"colour": "blue", "size": "L"}
        stool = (await shop.http.get("/v1/products/CORK-STOOL")).json()
        assert (stool["is_listed"], stool["attributes"], stool["category"]) == (False, {}, None)

    async def test_says_the_same_in_csv_as_in_json(self, shop: Shop) -> None:
        await shop.import_rows([a_row("BLUE-VASE", attributes={"size": "L"})])

        result = await shop.import_lines(
            "attribute.size,currency,price_minor,sku,title\nL,GBP,500,BLUE-VASE,The BLUE-VASE\n",
            media_type="text/csv",
        )

        assert (result["accepted"], result["unchanged"]) == (0, 1)

    @pytest.mark.parametrize(
        ("content", "media_type", "status", "code"),
        [
            ("sku,title\nA,B", "text/csv", 422, "invalid"),
            ("sku,title,price_minor,currency,color\nA,B,1,GBP,red", "text/csv", 422, "invalid"),
            ("sku,title,price_minor,currency,attribute.\nA,B,1,GBP,red", "text/csv", 422, "invalid"),
            ("[]", "application/json", 415, "unsupported-media-type"),
        ],
        ids=["missing column", "unknown column", "nameless attribute", "json"],
    )
    async def test_refuses_a_file_of_the_wrong_form(
        self, http: httpx.AsyncClient, content: str, media_type: str, status: int, code: str
    ) -> None:
        answer = await http.post("/v1/products/import", content=content, headers={"Content-Type": media_type})

        assert (answer.status_code, answer.json()["code"]) == (status, code)


class TestDatabaseFault:
    async def test_that_passes_is_not_noticed(self, shop: Shop) -> None:
        async with failing(shop.database, failures=1):
            result = await shop.import_rows([a_row("AMBER-LAMP"), a_row("UNLUCKY-VASE")])

        assert (result["accepted"], result["rejected"]) == (2, 0)
        assert len(await shop.events()) == 2

    async def test_that_stays_is_told_and_leaves_no_batch_half_done(self, shop: Shop) -> None:
        first_batch = [a_row(f"THING-{number:03}") for number in range(BATCH_ROWS_MAX)]
        rows = [*first_batch, a_row("AMBER-LAMP"), a_row("UNLUCKY-VASE")]
        content = "\n".join(map(json.dumps, rows))
        async with failing(shop.database, failures=1_000):
            answer = await shop.http.post(
                "/v1/products/import", content=content, headers={"Content-Type": "application/x-ndjson"}
            )

        assert (answer.status_code, answer.json()["code"]) == (503, "import-interrupted")
        assert "500 rows had been applied" in answer.json()["detail"]
        assert len(await stored(shop.database)) == len(await shop.events()) == BATCH_ROWS_MAX
        again = await shop.import_lines(content)
        assert (again["accepted"], again["unchanged"], again["rejected"]) == (2, BATCH_ROWS_MAX, 0)


class TestConcurrentImports:
    async def test_of_the_same_new_products_create_each_once(self, shop: Shop) -> None:
        rows = [a_row(f"THING-{number:03}") for number in range(300)]

        results = await asyncio.gather(*(shop.import_rows(shuffled(rows, n)) for n in range(4)))

        assert sum(result["accepted"] for result in results) == 300
        assert sum(result["unchanged"] for result in results) == 900
        assert sorted(await shop.told()) == [(f"THING-{n:03}", "product.listed", 1) for n in range(300)]

    async def test_of_different_states_leave_versions_without_gaps_in_order(self, shop: Shop) -> None:
        async def import_priced(price: int) -> None:
            rows = [a_row(f"THING-{number}", price_minor=price) for number in range(20)]
            result = await shop.import_rows(shuffled(rows, price))
            assert result["rejected"] == 0

        await asyncio.gather(*(import_priced(price) for price in range(1, 9)))

        versions: dict[str, list[int | None]] = {}
        for sku, _, version in await shop.told():
            versions.setdefault(sku, []).append(version)
        final = {sku: version for sku, version, _ in await stored(shop.database)}
        assert versions == {sku: list(range(1, final[sku] + 1)) for sku in final}
        assert len(final) == 20


# Everything that a row may hold, so that nothing the form accepts is refused by the database.
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(str.strip)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "sku": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,10}", fullmatch=True),
            "title": TEXTS,
            "price_minor": st.integers(0, 2**53 - 1),
            "currency": st.sampled_from(["GBP", "EUR"]),
        },
        optional={
            "description": st.text(st.characters(blacklist_categories=("Cs", "Cc"))) | st.none(),
            "attributes": st.dictionaries(TEXTS.filter(lambda name: name == name.strip()), TEXTS, max_size=3),
            "is_listed": st.booleans(),
        },
    ),
    max_size=12,
    unique_by=lambda row: row["sku"],
)
ON_A_DATABASE = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class TestIdempotence:
    @ON_A_DATABASE
    @given(rows=ROWS, seed=st.integers())
    async def test_twice_is_once_and_the_order_of_rows_does_not_matter(
        self, shop: Shop, rows: Sequence[Mapping[str, Any]], seed: int
    ) -> None:
        await execute(shop.database, "TRUNCATE products, outbox_events")

        first = await shop.import_rows(rows)
        told = await shop.told()
        second = await shop.import_rows(shuffled(rows, seed))

        assert (first["accepted"], first["rejected"]) == (len(rows), 0)
        assert (second["unchanged"], second["accepted"], second["rejected"]) == (len(rows), 0, 0)
        assert await shop.told() == told
        assert {sku for sku, _, _ in told} == {row["sku"] for row in rows}
