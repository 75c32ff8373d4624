"""A request that is right for each route that takes text: what hostile values and canaries are put into."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

OCCURRED_AT: Final = "2026-03-02T09:00:00Z"

Pointer = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A write and its body; `sends_lines` sends the body as a line of NDJSON."""

    service: str
    method: str
    path: str
    body: Mapping[str, Any]
    sends_lines: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.service}{self.path}"

    def with_value(self, pointer: Pointer, value: Any) -> "Write":
        """Return the same write with another value at one place of its body."""
        body: Any = deepcopy(dict(self.body))
        place = body
        for part in pointer[:-1]:
            place = place[part]
        place[pointer[-1]] = value
        return replace(self, body=body)


def places(value: Any, pointer: Pointer = ()) -> Iterator[tuple[Pointer, Any]]:
    """Yield every leaf of a body, with the way to it."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from places(one, (*pointer, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, (*pointer, index))
    else:
        yield pointer, value


def writes(number: int = 0) -> list[Write]:
    """Return writes that are all right; those of another number have ids of their own."""

    def identity(kind: int) -> str:
        return str(UUID(int=(0x0189 << 112) | (kind << 64) | number))

    product = {
        "title": "Amber lamp",
        "description": "Gives light.",
        "category": None,
        "price_minor": 1999,
        "currency": "GBP",
        "attributes": {"colour": "amber"},
    }
    warehouse = {"name": "London", "country": "GB", "latitude": 51.5, "longitude": -0.1}
    receipt = {
        "id": identity(1),
        "type": "goods.received",
        "sku": f"LAMP-{number}",
        "warehouse": "ABUSE",
        "occurred_at": OCCURRED_AT,
        "quantity": 5,
        "reference": "PO-1",
        "lot": "L1",
        "unit_cost_minor": 100,
        "currency": "GBP",
    }
    order = {
        "customer_id": "customer-7",
        "channel": "web",
        "reference": f"R-{number}",
        "currency": "GBP",
        "lines": [{"sku": f"LAMP-{number}", "quantity": 1, "unit_price_minor": 100}],
        "ship_to": {
            "country": "GB",
            "name": "Ann Shopper",
            "address_lines": ["1 High Street"],
            "city": "London",
            "postal_code": "N1 1AA",
            "latitude": 51.5,
            "longitude": -0.1,
        },
        "payment": {"token": "tok_ok"},
    }
    behaviour = {
        "id": identity(2),
        "type": "product.viewed",
        "visitor_id": "visitor-1",
        "customer_id": "customer-7",
        "session_id": "session-1",
        "occurred_at": OCCURRED_AT,
        "sku": f"LAMP-{number}",
    }
    service = {"service": "next-day", "name": "Next day", "cut_off": "16:00", "rates": [
        {"zone": "domestic", "base_minor": 500, "per_kg_minor": 10, "transit_days": 1}
    ]}  # fmt: skip
    return [
        Write("catalog", "POST", "/v1/products", {"sku": f"LAMP-{number}", **product}),
        Write("catalog", "PUT", f"/v1/products/PUT-{number}", product),
        Write("catalog", "POST", "/v1/products/import", {"sku": f"LINE-{number}", **product}, sends_lines=True),
        Write("catalog", "POST", "/v1/categories", {"code": f"lamps-{number}", "name": "Lamps", "parent": None}),
        Write("inventory", "PUT", "/v1/warehouses/ABUSE", warehouse),
        Write("inventory", "POST", "/v1/stock-events", receipt),
        Write("inventory", "POST", "/v1/stock-events", {**receipt, "id": identity(3)}, sends_lines=True),
        Write(
            "inventory",
            "POST",
            "/v1/reservations",
            {
                "reservation_id": identity(4),
                "channel": "web",
                "lines": [{"sku": f"LAMP-{number}", "quantity": 1}],
                "destination": {"country": "GB", "latitude": 51.5, "longitude": -0.1},
                "mode": "best-effort",
            },
        ),
        Write("inventory", "PUT", f"/v1/bundles/SET-{number}", {"components": [{"sku": "SHADE", "quantity": 2}]}),
        Write("inventory", "PUT", f"/v1/stock/LAMP-{number}/policy", {"safety_stock_units": 1}),
        Write("orders", "POST", "/v1/orders", order),
        Write("orders", "PUT", "/v1/customers/customer-7/contact", {"email": "ann@example.org"}),
        Write(
            "orders", "POST", "/v1/customers/customer-of-whom-nothing-is-known/erasure", {"visitor_ids": ["visitor-9"]}
        ),
        Write(
            "orders",
            "POST",
            "/v1/webhooks",
            {"url": "https://93.184.215.14/hook", "event_types": ["order.placed"], "description": "Ours."},
        ),
        Write("recommender", "POST", "/v1/behaviour-events", behaviour),
        Write(
            "logistics",
            "PUT",
            f"/v1/carriers/swift-{number}",
            {"name": "Swift", "currency": "GBP", "is_active": False, "services": [service]},
        ),
    ]
