"""What the replay sends: each fact as the body of a request, under a key that never changes."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid5

import msgspec

from bench.replay.draws import draw
from bench.replay.facts import CURRENCY, Sale
from bench.replay.geography import WarehouseSite, destination
from bench.replay.matching import GoodsBack
from bench.replay.products import Category, Product
from bench.replay.supply import Delivery
from bench.replay.views import View

CHANNEL = "replay"

# Names of the replay's own events are hashed in this namespace, so that a second replay of the
# same data repeats the ids of the first.
_NAMESPACE = UUID("5f0c4f1e-8a43-4d0b-9a53-7b7f7a0f2c11")

# How the sandbox provider is told to behave; the data set knows nothing of payments. Each outcome
# has this share of the orders, all others pay at once.
_PAYMENT_SHARES = (
    ("tok_declined", 0.004),
    ("tok_timeout", 0.006),
    ("tok_late", 0.006),
    ("tok_capture_timeout", 0.004),
)
_PAYMENT_TOKEN = "tok_ok"  # noqa: S105 - the name of a sandbox behaviour

# Of the goods that come back, this share is broken and not sold again.
_DAMAGED_SHARE = 0.1

_encoder = msgspec.json.Encoder()


def idempotency_key(dataset: str, *names: str) -> str:
    """Return the key of one request: the same for every replay of the same data."""
    return "-".join(("replay", dataset, *names))


def ndjson(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return one JSON object a line."""
    return _encoder.encode_lines(list(rows))


def category_row(category: Category) -> dict[str, Any]:
    """Return a category for the catalog's import."""
    return {"code": category.slug, "name": category.name}


def product_row(product: Product) -> dict[str, Any]:
    """Return a product for the catalog's import; it says that its category is derived."""
    return {
        "sku": product.sku,
        "title": product.name,
        "category": product.category,
        "price_minor": product.price_minor,
        "currency": CURRENCY,
        "attributes": {"category-source": "derived from the title"},
    }


def warehouse_body(site: WarehouseSite) -> dict[str, Any]:
    """Return a warehouse for inventory."""
    return {
        "name": site.name,
        "country": site.country,
        "latitude": site.latitude,
        "longitude": site.longitude,
    }


def stock_event(dataset: str, delivery: Delivery) -> dict[str, Any]:
    """Return goods received; the reference says that they are derived."""
    return {
        "id": str(stock_event_id(dataset, delivery)),
        "type": "goods.received",
        "sku": delivery.sku,
        "warehouse": delivery.warehouse,
        "occurred_at": delivery.received_at.isoformat(),
        "quantity": delivery.quantity,
        "reference": _delivery_reference(dataset, delivery),
    }


def stock_event_id(dataset: str, delivery: Delivery) -> UUID:
    """Return the id under which a delivery is sent."""
    return uuid5(_NAMESPACE, f"{_delivery_reference(dataset, delivery)}/{delivery.warehouse}/{delivery.sku}")


def behaviour_event(dataset: str, view: View) -> dict[str, Any]:
    """Return a product view, marked as derived."""
    return {
        "id": str(view_id(dataset, view)),
        "type": "product.viewed",
        "visitor_id": view.visitor,
        "customer_id": view.customer,
        "session_id": view.session,
        "occurred_at": view.occurred_at.isoformat(),
        "sku": view.sku,
        "is_derived": True,
    }


def view_id(dataset: str, view: View) -> UUID:
    """Return the id under which a view is sent."""
    return uuid5(_NAMESPACE, f"{dataset}/{view.session}/{view.sku}/{view.occurred_at.isoformat()}")


def order_body(dataset: str, sale: Sale, *, is_faultless: bool = False) -> dict[str, Any]:
    """Return an order as the storefront places it; in a faultless replay every payment succeeds at once."""
    place = destination(country=sale.country, customer=sale.customer)
    return {
        "customer_id": sale.customer,
        "channel": CHANNEL,
        "reference": order_reference(dataset, sale),
        "currency": CURRENCY,
        "placed_at": sale.placed_at.isoformat(),
        "lines": [
            {
                "sku": line.sku,
                "quantity": line.quantity,
                "unit_price_minor": line.unit_price_minor,
            }
            for line in sale.lines
        ],
        "ship_to": {
            "country": place.country,
            "latitude": place.latitude,
            "longitude": place.longitude,
        },
        "payment": {"token": _PAYMENT_TOKEN if is_faultless else payment_token(dataset, sale)},
    }


def order_reference(dataset: str, sale: Sale) -> str:
    """Return the storefront's own number of an order, by which an order placed twice would show."""
    return f"{dataset}/{sale.invoice}"


def payment_token(dataset: str, sale: Sale) -> str:
    """Return which behaviour of the sandbox provider the order meets; derived."""
    drawn = draw(dataset, "payment", sale.invoice)
    for token, share in _PAYMENT_SHARES:
        if drawn < share:
            return token
        drawn -= share
    return _PAYMENT_TOKEN


def return_body(goods_back: GoodsBack) -> dict[str, Any]:
    """Return the request to send goods back."""
    return {
        "reason": f"cancelled by invoice {goods_back.cancellation}",
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in goods_back.quantities.items()],
    }


def receipt_body(dataset: str, goods_back: GoodsBack, *, warehouse: str) -> dict[str, Any]:
    """Return the warehouse's word that the goods are back; which of them are broken is derived."""
    return {
        "warehouse": warehouse,
        "received_at": goods_back.at.isoformat(),
        "lines": [
            {
                "sku": sku,
                "quantity": quantity,
                "restock_quantity": 0 if _is_damaged(dataset, goods_back, sku) else quantity,
            }
            for sku, quantity in goods_back.quantities.items()
        ],
    }


def _is_damaged(dataset: str, goods_back: GoodsBack, sku: str) -> bool:
    names = (goods_back.cancellation, goods_back.sale, sku)
    return draw(dataset, "damaged", *names) < _DAMAGED_SHARE


def _delivery_reference(dataset: str, delivery: Delivery) -> str:
    return f"derived-{dataset}-{delivery.number}"
