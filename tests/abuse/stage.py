"""A shop in the middle of its day: something of each kind that an address or a body can name, in several states."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import httpx

from tests.abuse.bodies import OCCURRED_AT
from tests.abuse.site import Site
from tests.support.eventually import eventually

# What exists, by service and by what a parameter or a field that names it is called.
Names = dict[str, dict[str, list[str]]]

WAREHOUSES: Final = ("STAGE-A", "STAGE-B")
SKUS: Final = tuple(f"STAGE-{number}" for number in range(8))
# Never received: whoever orders them waits.
MISSING_SKU: Final = "STAGE-MISSING"
BUNDLES: Final = ("STAGE-SET-0", "STAGE-SET-1")
CATEGORIES: Final = ("stage", "stage-lamps")
PROMOTIONS: Final = ("STAGE-10", "STAGE-20")
CUSTOMERS: Final = tuple(f"stage-customer-{number}" for number in range(6))
UNITS_RECEIVED: Final = 100_000
UNITS_ORDERED: Final = 20
EACH: Final = 4
PLACE: Final[Mapping[str, Any]] = {"country": "GB", "latitude": 51.5, "longitude": -0.1}
# An address that anybody may send to, and nobody is reached at by a test.
WEBHOOK_URL: Final = "https://93.184.215.14/hook"


async def set_stage(site: Site) -> Names:
    """Let orders be placed, shipped, held, kept waiting and sent back; return what there is then, by name."""
    clients = {name: service.client(site.keys.ops) for name, service in site.services.items()}
    try:
        stage = _Stage(clients)
        await stage.list_products()
        await stage.fill_warehouses()
        await stage.take_orders()
        await stage.send_parcels()
        await stage.take_back()
        return stage.names
    finally:
        for client in clients.values():
            await client.aclose()


class _Stage:
    def __init__(self, clients: Mapping[str, httpx.AsyncClient]) -> None:
        self.clients = clients
        self.names: Names = {
            "catalog": {"sku": [*SKUS], "code": [*CATEGORIES], "category": [*CATEGORIES], "parent": [*CATEGORIES]},
            "inventory": {
                "sku": [*SKUS],
                "warehouse": [*WAREHOUSES],
                "source": [*WAREHOUSES],
                "destination": [*WAREHOUSES],
                "exclude": [*SKUS],
                "bundle": [*BUNDLES],
            },
            "orders": {
                "sku": [*SKUS],
                "warehouse": [*WAREHOUSES],
                "customer_id": [*CUSTOMERS],
                "code": [*PROMOTIONS],
            },
            "recommender": {"sku": [*SKUS], "customer_id": [*CUSTOMERS], "user_id": [*CUSTOMERS]},
            "logistics": {},
        }

    async def list_products(self) -> None:
        for code in CATEGORIES:
            category = {"code": code, "name": "Staged", "parent": None if code == CATEGORIES[0] else CATEGORIES[0]}
            await self._post("catalog", "/v1/categories", category)
        for sku in SKUS:
            product = {"sku": sku, "title": "Lamp", "description": "Gives light.", "category": CATEGORIES[1]}
            await self._post("catalog", "/v1/products", {**product, "price_minor": 500, "currency": "GBP"})

    async def fill_warehouses(self) -> None:
        inventory = self.clients["inventory"]
        for warehouse in WAREHOUSES:
            answer = await inventory.put(f"/v1/warehouses/{warehouse}", json={"name": "Staged", **PLACE})
            assert answer.is_success, answer.text
            for sku in SKUS:
                await self._report("goods.received", sku, warehouse, quantity=UNITS_RECEIVED, unit_cost_minor=100,
                                   currency="GBP")  # fmt: skip
        for bundle in BUNDLES:
            components = {"components": [{"sku": sku, "quantity": 1} for sku in SKUS[:2]]}
            assert (await inventory.put(f"/v1/bundles/{bundle}", json=components)).is_success
        for sku in SKUS[:EACH]:
            # Far from what is there: somebody has to approve it.
            await self._report("goods.counted", sku, WAREHOUSES[0], counted=1)
        found = (await inventory.get("/v1/counts")).json()["items"]
        assert found
        self.names["inventory"]["count_id"] = [one["id"] for one in found]
        transfer = {"source": WAREHOUSES[0], "destination": WAREHOUSES[1]}
        await self._make(EACH, "inventory", "transfer_id", "/v1/transfers",
                         {**transfer, "lines": [{"sku": SKUS[5], "quantity": 3}]})  # fmt: skip
        await self._make(1, "inventory", "list_id", "/v1/count-lists", {"warehouse": WAREHOUSES[0], "size": 3})
        self.names["inventory"]["reservation_id"] = holds = [str(uuid4()) for _ in range(EACH)]
        for reservation_id in holds:
            lines = [{"sku": sku, "quantity": 3} for sku in SKUS[4:]]
            hold = {"reservation_id": reservation_id, "channel": "web", "lines": lines, "ttl_seconds": 3600}
            await self._post("inventory", "/v1/reservations", hold)
        self.names["inventory"]["subject"] = [f"transfer:{one}" for one in self.names["inventory"]["transfer_id"]]

    async def take_orders(self) -> None:
        orders = self.clients["orders"]
        for code in PROMOTIONS:
            promotion = {"kind": "percent", "rate_ppm": 100_000, "valid_from": OCCURRED_AT}
            assert (await orders.put(f"/v1/promotions/{code}", json=promotion)).is_success
        for customer in CUSTOMERS:
            contact = {"email": f"{customer}@example.org"}
            assert (await orders.put(f"/v1/customers/{customer}/contact", json=contact)).is_success
        await self._make(EACH, "orders", "webhook_id", "/v1/webhooks", {"url": WEBHOOK_URL})
        for number in range(EACH):
            block = {"subject": "customer", "value": f"stage-blocked-{number}", "reason": "as a test"}
            await self._make(1, "orders", "block_id", "/v1/review-blocks", block)
        lines = [{"sku": sku, "quantity": UNITS_ORDERED, "unit_price_minor": 500} for sku in SKUS[4:]]
        self.confirmed = [await self._order(lines) for _ in range(3 * EACH)]
        # Dear enough for a person to look at.
        held = [await self._order([{**lines[0], "quantity": 1, "unit_price_minor": 10**9}]) for _ in range(EACH)]
        waiting = [await self._order([{**lines[0], "sku": MISSING_SKU}]) for _ in range(EACH)]
        for wanted, among in (("confirmed", self.confirmed), ("held", held), ("backordered", waiting)):
            for order_id in among:
                await self._reached(order_id, wanted)
        # One of each after another: whoever takes the next gets one in another state.
        states = zip(self.confirmed[:EACH], held, waiting, self.confirmed[EACH : 2 * EACH], strict=True)
        self.names["orders"]["order_id"] = [order_id for some in states for order_id in some]
        self.names["orders"]["subject"] = [f"order:{one}" for one in self.names["orders"]["order_id"]]

    async def send_parcels(self) -> None:
        parcels = [await self._parcel(order_id) for order_id in self.confirmed[:EACH]]
        self.names["logistics"] = {
            "order_id": self.confirmed,
            "shipment_id": parcels,
            "subject": [f"shipment:{parcel}" for parcel in parcels],
        }
        self.names["orders"]["shipment_id"] = parcels
        for order_id in self.confirmed[EACH:]:
            parcel = f"/v1/shipments/{await self._parcel(order_id)}"
            await self._post("logistics", f"{parcel}/dispatch", {})
            await self._post("logistics", f"{parcel}/delivery", {})
        for order_id in self.confirmed[EACH:]:
            await self._reached(order_id, "settled")

    async def take_back(self) -> None:
        lines = [{"sku": sku, "quantity": 5} for sku in SKUS[4:]]
        wanted = {"reason": "as a test", "lines": lines}
        for number, order_id in enumerate(self.confirmed[EACH:]):
            [return_id] = await self._make(1, "orders", "return_id", f"/v1/orders/{order_id}/returns", wanted)
            if number < EACH:
                came = {"warehouse": WAREHOUSES[0], "lines": lines}
                await self._post("orders", f"/v1/returns/{return_id}/arrival", came)

    async def _order(self, lines: list[dict[str, Any]]) -> str:
        order = {"customer_id": CUSTOMERS[0], "currency": "GBP", "lines": lines, "payment": {"token": "tok_ok"}}
        address = {"name": "Ann", "address_lines": ["1 High Street"], "city": "London", "postal_code": "N1"}
        answer = await self._post("orders", "/v1/orders", {**order, "ship_to": {**PLACE, **address}})
        return str(answer["id"])

    async def _reached(self, order_id: str, status: str) -> None:
        async def look() -> str:
            return str((await self.clients["orders"].get(f"/v1/orders/{order_id}")).json()["status"])

        await eventually(look, lambda found: found == status)

    async def _parcel(self, order_id: str) -> str:
        async def look() -> list[dict[str, Any]]:
            listed = await self.clients["logistics"].get("/v1/shipments", params={"order_id": order_id})
            return [one for one in listed.json()["items"] if one["status"] == "planned"]

        parcels = await eventually(look)
        return str(parcels[0]["id"])

    async def _report(self, kind: str, sku: str, warehouse: str, **what: Any) -> None:
        event = {"id": str(uuid4()), "type": kind, "sku": sku, "warehouse": warehouse, "occurred_at": OCCURRED_AT}
        await self._post("inventory", "/v1/stock-events", {**event, **what})

    async def _make(self, count: int, service: str, name: str, path: str, body: Mapping[str, Any]) -> list[str]:
        made = [str((await self._post(service, path, body))["id"]) for _ in range(count)]
        self.names[service].setdefault(name, []).extend(made)
        return made

    async def _post(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        answer = await self.clients[service].post(path, json=body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.is_success, f"{path}: {answer.text}"
        return answer.json() if answer.content else {}
