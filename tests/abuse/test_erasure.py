"""A customer with a whole life here is erased, and found again nowhere (F64)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from libs.common.events.topics import ALL_TOPICS
from tests.abuse.bodies import OCCURRED_AT
from tests.abuse.site import Site, dead_letter_topics
from tests.support.canaries import records_with, tables_with
from tests.support.eventually import eventually

# In every value that a caller may choose freely and that is about a person.
CANARY: Final = "zebulon"
CUSTOMER: Final = "Zebulon of the lighthouse"
VISITOR: Final = "zebulon-visitor"
SKU: Final = "ERASURE-LAMP"
WAREHOUSE: Final = "ERASURE"
ADDRESS: Final[Mapping[str, Any]] = {
    "country": "GB",
    "name": "Zebulon Name",
    "address_lines": ["Zebulon Street 17", "Zebulon Flat 4"],
    "city": "Zebulon City",
    "postal_code": "Zebulon 9",
    "latitude": 51.5,
    "longitude": -0.1,
}
OVER: Final = {"settled", "refused", "cancelled"}


class Life:
    """What a customer does, and what is done about it."""

    def __init__(self, orders: httpx.AsyncClient, others: Mapping[str, httpx.AsyncClient]) -> None:
        self.orders = orders
        self.others = others
        self.order_ids: list[str] = []

    async def post(self, client: httpx.AsyncClient, path: str, body: Any, *, expected: int = 2, **headers: str) -> Any:
        answer = await client.post(path, json=body, headers={"Idempotency-Key": str(uuid4()), **headers})
        assert answer.status_code // 100 == expected, answer.text
        return answer.json() if answer.content else {}

    async def order(self, **changes: Any) -> str:
        body = {
            "customer_id": CUSTOMER,
            "reference": f"Zebulon order {len(self.order_ids)}",
            "currency": "GBP",
            "lines": [{"sku": SKU, "quantity": 2, "unit_price_minor": 500}],
            "ship_to": ADDRESS,
            "payment": {"token": "tok_ok"},
        }
        answer = await self.post(self.orders, "/v1/orders", {**body, **changes})
        self.order_ids.append(answer["id"])
        return str(answer["id"])

    async def reached(self, order_id: str, *statuses: str) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            return dict((await self.orders.get(f"/v1/orders/{order_id}")).json())

        found: dict[str, Any] = await eventually(look, lambda order: order["status"] in statuses)
        return found

    async def parcel(self, order_id: str) -> str:
        async def look() -> list[dict[str, Any]]:
            listed = (await self.others["logistics"].get("/v1/shipments", params={"order_id": order_id})).json()
            return [one for one in listed["items"] if one["status"] == "planned"]

        [parcel] = await eventually(look)
        return f"/v1/shipments/{parcel['id']}"

    async def supply(self) -> None:
        inventory = self.others["inventory"]
        place = {"name": "London", "country": "GB", "latitude": 51.5, "longitude": -0.1}
        assert (await inventory.put(f"/v1/warehouses/{WAREHOUSE}", json=place)).is_success
        goods = {"type": "goods.received", "sku": SKU, "warehouse": WAREHOUSE, "occurred_at": OCCURRED_AT}
        await self.post(inventory, "/v1/stock-events", {**goods, "id": str(uuid4()), "quantity": 50})

    async def browse(self) -> None:
        who = {"visitor_id": VISITOR, "customer_id": CUSTOMER.replace(" ", "-"), "session_id": "zebulon-session"}
        for event in (
            {"type": "product.viewed", "sku": SKU},
            {"type": "product.clicked", "sku": SKU},
            {"type": "cart.added", "sku": SKU, "quantity": 2},
            {"type": "search.performed", "query": "lamps for Zebulon"},
        ):
            report = {**who, **event, "id": str(uuid4()), "occurred_at": OCCURRED_AT}
            await self.post(self.others["recommender"], "/v1/behaviour-events", report)
        question = {"user_id": CUSTOMER.replace(" ", "-"), "visitor_id": VISITOR}
        assert (await self.others["recommender"].get("/v1/recommendations", params=question)).is_success

    async def buy_and_send_back(self) -> None:
        order_id = await self.order()
        await self.reached(order_id, "confirmed")
        await self.parcel(order_id)

        async def edited() -> bool:
            shown = await self.orders.get(f"/v1/orders/{order_id}")
            headers = {"Idempotency-Key": str(uuid4()), "If-Match": shown.headers["ETag"]}
            edit = {"reason": "Zebulon has moved", "ship_to": {**ADDRESS, "name": "Zebulon Second"}}
            answer = await self.orders.post(f"/v1/orders/{order_id}/edits", json=edit, headers=headers)
            # The order may have moved on since it was shown.
            assert answer.is_success or answer.status_code == HTTPStatus.PRECONDITION_FAILED, answer.text
            return answer.is_success

        await eventually(edited)
        await self.reached(order_id, "confirmed")
        parcel = await self.parcel(order_id)
        logistics = self.others["logistics"]
        await self.post(logistics, f"{parcel}/dispatch", {"tracking_number": "ZEBULON-TRACKED"})
        await self.post(logistics, f"{parcel}/scans", {"place": "Zebulon Corner", "latitude": 51.5, "longitude": -0.1})
        await self.post(logistics, f"{parcel}/delivery", {})
        await self.reached(order_id, "settled")
        for wanted in ({}, {"exchange_for": [{"sku": SKU, "quantity": 1, "unit_price_minor": 500}]}):
            back = {"reason": "Zebulon dislikes it", "lines": [{"sku": SKU, "quantity": 1}], **wanted}
            announced = await self.post(self.orders, f"/v1/orders/{order_id}/returns", back)
            label = {"carrier": "gull", "reference": "Zebulon label"}
            await self.post(self.orders, f"/v1/returns/{announced['id']}/label", label)
            came = {"warehouse": WAREHOUSE, "lines": [{"sku": SKU, "quantity": 1}]}
            await self.post(self.orders, f"/v1/returns/{announced['id']}/arrival", came)
            found = {"sku": SKU, "quantity": 1, "grade": "new", "disposition": "restock"}
            await self.post(self.orders, f"/v1/returns/{announced['id']}/inspection", {"lines": [found]})

    async def send_exchange(self) -> None:
        async def look() -> list[str]:
            listed = (await self.orders.get("/v1/orders", params={"customer_id": CUSTOMER})).json()["items"]
            return [one["id"] for one in listed if one["id"] not in self.order_ids]

        [exchange] = await eventually(look)
        parcel = await self.parcel(exchange)
        await self.post(self.others["logistics"], f"{parcel}/dispatch", {})
        await self.post(self.others["logistics"], f"{parcel}/delivery", {})
        await self.reached(exchange, "settled")

    async def be_refused(self) -> None:
        """Have orders declined, held and refused, compensated and cancelled, and be blocked in the end."""
        await self.reached(await self.order(payment={"token": "Zebulon token"}), "refused")
        dear = [{"sku": SKU, "quantity": 1, "unit_price_minor": 10**9}]
        held = await self.order(lines=dear)
        await self.reached(held, "held")
        await self.post(self.orders, f"/v1/reviews/{held}/refuse", {"reason": "Zebulon is known here"})
        stopped = await self.order()
        await self.reached(stopped, "confirmed")
        action = {"action": "force-compensate", "reason": "Zebulon asked for it"}
        await self.post(self.orders, f"/v1/orders/{stopped}/actions", action)
        block = {"subject": "customer", "value": CUSTOMER, "reason": "Zebulon again"}
        made = await self.post(self.orders, "/v1/review-blocks", block)
        await self.post(self.orders, f"/v1/review-blocks/{made['id']}/lift", {"reason": "Zebulon has apologised"})

    async def leave_one_open(self) -> str:
        return await self.order(lines=[{"sku": "ERASURE-NEVER-THERE", "quantity": 1, "unit_price_minor": 100}])

    async def erasure(self) -> dict[str, Any]:
        answer = await self.orders.get(f"/v1/customers/{CUSTOMER}/erasure")
        assert answer.is_success, answer.text
        return dict(answer.json())


async def places_with_canary(site: Site) -> set[str]:
    found = set()
    for name, service in site.services.items():
        found |= {f"{name}.{table}" for table in await tables_with(service.database_url, CANARY)}
    async with site.bus() as bus:
        for topic in [*(topic.name for topic in ALL_TOPICS), *dead_letter_topics()]:
            found |= {topic for _ in records_with(await bus.read_records(topic), CANARY)}
    return found


class TestErasure:
    @pytest.mark.timeout(240, func_only=True)
    async def test_of_a_whole_life_leaves_nothing_of_it(self, site: Site) -> None:
        clients = {name: service.client(site.keys.ops) for name, service in site.services.items()}
        life = Life(clients["orders"], clients)
        await life.supply()
        contact = f"/v1/customers/{CUSTOMER}/contact"
        assert (await life.orders.put(contact, json={"email": "zebulon@example.org"})).is_success
        await life.browse()
        await life.buy_and_send_back()
        await life.send_exchange()
        await life.be_refused()
        open_order = await life.leave_one_open()
        await life.reached(open_order, "backordered", "refused", "confirmed")

        # It is where it must be, and on the bus it never is.
        before = await places_with_canary(site)
        assert before
        assert {place for place in before if "." not in place or place.endswith((".v1", ".dlq"))} == set()

        wanted = {"reason": "ticket-17", "visitor_ids": [VISITOR, CUSTOMER.replace(" ", "-")]}
        asked = await life.post(life.orders, f"/v1/customers/{CUSTOMER}/erasure", wanted)
        assert (asked["status"], asked["requested_by"]) == ("requested", "ops")
        again = await life.post(life.orders, f"/v1/customers/{CUSTOMER}/erasure", wanted)
        assert again["id"] == asked["id"]
        if (await life.reached(open_order, "backordered", "refused"))["status"] == "backordered":
            held_up = await life.erasure()
            assert [one["order_id"] for one in held_up["waits_for"]] == [open_order]
            cancelled = {"reason": "Zebulon wants to be forgotten"}
            await life.post(life.orders, f"/v1/orders/{open_order}/cancellation", cancelled)
        done = await eventually(life.erasure, lambda state: state["status"] == "done")

        assert {one["service"] for one in done["services"] if "erased_at" in one} == {
            "orders", "inventory", "logistics", "recommender",
        }  # fmt: skip
        assert done["orders"] >= len(life.order_ids)
        # Days that were being summed up meanwhile are summed up anew in a moment.
        await eventually(lambda: places_with_canary(site), lambda places: not places)

        shown = (await life.orders.get(f"/v1/orders/{life.order_ids[0]}")).json()
        assert shown["customer_id"] == done["erased_name"]
        assert (shown["status"], shown["total_minor"], shown["payment"]["refunded_minor"]) == ("settled", 1000, 500)
        assert (await life.orders.get(contact)).status_code == HTTPStatus.NOT_FOUND
        # Nothing brings it back: no late order, contact, return, scan or click.
        await life.browse()
        refused = await life.orders.put(contact, json={"email": "zebulon@example.org"})
        assert refused.json()["code"] == "customer-erased"
        late = {"reason": "Zebulon is late", "lines": [{"sku": SKU, "quantity": 1}]}
        await life.post(life.orders, f"/v1/orders/{life.order_ids[0]}/returns", late, expected=4)
        with pytest.raises(AssertionError, match="customer-erased"):
            await life.order()
        assert await places_with_canary(site) == set()
        for client in clients.values():
            await client.aclose()
