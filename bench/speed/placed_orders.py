"""Orders as a storefront posts them."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final
from uuid import UUID

import msgspec

from bench.speed.http_load import request_of
from bench.speed.stock_world import PLACES, skus
from libs.common.ids import new_id

_LINES: Final = 3
_UNITS_MAX: Final = 3
_UNIT_PRICE_MINOR_MAX: Final = 2_500


def order_bodies(count: int, *, sku_count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield small baskets of different customers that every review rule lets pass, referenced as `<seed>-<number>`."""
    random = Random(seed)  # noqa: S311 - a draw of data, the same in every run
    names = skus(sku_count)
    places = list(PLACES.values())
    for number in range(count):
        latitude, longitude = random.choice(places)
        yield {
            "customer_id": f"customer-{new_id()}",
            "reference": f"{seed}-{number}",
            "currency": "EUR",
            "lines": [
                {
                    "sku": sku,
                    "quantity": random.randint(1, _UNITS_MAX),
                    "unit_price_minor": random.randint(1, _UNIT_PRICE_MINOR_MAX),
                }
                for sku in random.sample(names, _LINES)
            ],
            "ship_to": {
                "country": "NL",
                "name": "A. Customer",
                "address_lines": ["Harbour Street 1"],
                "city": "Amsterdam",
                "postal_code": "1011 AB",
                "latitude": latitude,
                "longitude": longitude,
            },
            "payment": {"token": "tok_ok"},
        }


def order_request(body: dict[str, Any], *, path: str, key: str, idempotency_key: UUID | None = None) -> bytes:
    """Return the request that posts an order under an idempotency key of its own."""
    return request_of(
        "POST",
        path,
        key=key,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Idempotency-Key": str(idempotency_key or new_id())},
    )


def order_requests(count: int, *, sku_count: int, seed: int, path: str, key: str) -> list[bytes]:
    """Return `count` such requests."""
    return [order_request(body, path=path, key=key) for body in order_bodies(count, sku_count=sku_count, seed=seed)]
