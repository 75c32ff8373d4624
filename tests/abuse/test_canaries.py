"""Personal values that are found again nowhere but where they are kept (F63)."""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import asyncpg

from libs.common.events.topics import ALL_TOPICS
from tests.abuse.bodies import writes
from tests.abuse.site import RunningService, Site, dead_letter_topics

# One distinct value for each place that may hold something of a person; so that what leaks says where it came from.
CANARY: Final = "canary"
PERSON: Final[Mapping[str, Any]] = {
    "name": "canary-name-Zachary",
    "address_lines": ["canary-street 17", "canary-flat 4"],
    "city": "canary-city",
    "postal_code": "canary-postcode",
}
EMAIL: Final = "canary-mail@example.org"
TOKEN: Final = "canary-payment-token"

# Where docs/security.md says that they are kept, and where besides the payment's token is while it is used.
KEPT_IN: Final = {"orders.order_addresses", "orders.customer_contacts", "orders.payments"}
TOKENS_IN: Final = {"orders.payment_commands", "orders.sandbox_operations", "orders.sandbox_charges"}


class TestCanaries:
    async def test_are_in_no_log_no_metric_and_on_no_topic(self, site: Site) -> None:
        [order] = [dict(write.body) for write in writes(number=9) if write.path == "/v1/orders"]
        order |= {"ship_to": {**order["ship_to"], **PERSON}, "payment": {"token": TOKEN}}
        customer = f"customer-{uuid4().hex[:8]}"
        async with site.services["orders"].client(site.keys.ops) as client:
            placed = await self.post(client, "/v1/orders", {**order, "customer_id": customer})
            assert placed.status_code == 201, placed.text
            kept = await client.put(f"/v1/customers/{customer}/contact", json={"email": EMAIL})
            assert kept.is_success
            # The same values where they are wrong: what is refused must not be repeated either.
            for wrong in ({"currency": TOKEN}, {"lines": [{"sku": EMAIL, "quantity": EMAIL}]}, {"placed_at": EMAIL}):
                refused = await self.post(client, "/v1/orders", order | wrong)
                assert refused.status_code == 422
                assert CANARY not in refused.text
            for path in (f"/v1/orders/{EMAIL}", f"/v1/reports/funnel?by={EMAIL}", f"/v1/orders?cursor={TOKEN}"):
                answer = await client.get(path)
                assert answer.status_code in {404, 422}
                assert CANARY not in json.dumps({**answer.json(), "instance": None})

        assert CANARY not in await self.metrics(site)
        async with site.bus() as bus:
            for topic in [*(topic.name for topic in ALL_TOPICS), *dead_letter_topics()]:
                found = [one for one in await bus.read_records(topic) if CANARY.encode() in b"".join(self.parts(one))]
                assert found == [], topic
        assert [line[:300] for line in site.logs().splitlines() if CANARY in line] == []
        # They are kept, and where they are is known: else nobody could erase them.
        tables = {f"{name}.{table}" for name, one in site.services.items() for table in await self.tables_with(one)}
        assert tables - TOKENS_IN == KEPT_IN

    async def post(self, client: Any, path: str, body: Mapping[str, Any]) -> Any:
        return await client.post(path, json=body, headers={"Idempotency-Key": str(uuid4())})

    async def metrics(self, site: Site) -> str:
        texts = []
        for service in site.services.values():
            async with service.client() as client:
                texts.append((await client.get("/metrics")).text)
        return "\n".join(texts)

    def parts(self, record: Any) -> list[bytes]:
        return [record.key, record.value, *(value for _, value in record.headers)]

    async def tables_with(self, service: RunningService) -> list[str]:
        driver = await asyncpg.connect(service.database_url)
        try:
            tables = await driver.fetch(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
            )
            return [
                table["table_name"]
                for table in tables
                if await driver.fetchval(
                    f'SELECT EXISTS (SELECT FROM "{table["table_schema"]}"."{table["table_name"]}" AS row'  # noqa: S608
                    " WHERE row::text LIKE '%' || $1 || '%' OR row::text LIKE '%' || $2 || '%')",
                    CANARY,
                    # As bytea is written.
                    CANARY.encode().hex(),
                )
            ]
        finally:
            await driver.close()
