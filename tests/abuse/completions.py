"""
What makes of a request that its schema allows one that is accepted: names of what exists, near times, sums.

No schema can say these, and of requests without them nothing but their refusal would ever be seen.
"""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, MutableMapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from libs.common.clock import SystemClock
from tests.abuse.stage import MISSING_SKU, WEBHOOK_URL

# What exists in one service (`stage.Names`), where schemathesis is run.
NAMES_FILE: Final = Path("names.json")

# What is to come; every other time has been.
_FUTURE: Final = frozenset({"expires_at", "expected_at", "valid_to"})
# Of each kind; what was made before that is in a state of no interest any more.
_MADE_MAX: Final = 6
_UNITS_MAX: Final = 3
_MINOR_MAX: Final = 10_000
_AT_MOST: Final[Mapping[str, int]] = {
    "quantity": _UNITS_MAX,
    "restock_quantity": 0,
    "unit_price_minor": _MINOR_MAX,
    "safety_stock_units": _UNITS_MAX,
    "ttl_seconds": 600,
    "size": _UNITS_MAX,
}
_SOON: Final = timedelta(days=1)
# What becomes of the orders, one after the other.
_OUTCOMES: Final = ("confirmed", "held", "kept waiting", "confirmed")
_numbers: Final = count(1)

Body = dict[str, Any]


class KnownNames:
    """What exists, by the names of parameters and fields: what was there at first, in turn with what was made since."""

    def __init__(self, names: Mapping[str, list[str]]) -> None:
        self._staged = {name: deque(dict.fromkeys(values)) for name, values in names.items()}
        self._made: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_MADE_MAX))

    @classmethod
    def of_this_run(cls) -> "KnownNames":
        """Read what is known; nothing is where there is no such file."""
        return cls(json.loads(NAMES_FILE.read_text("utf-8")) if NAMES_FILE.exists() else {})

    def __bool__(self) -> bool:
        return bool(self._staged)

    def of(self, name: str) -> str | None:
        """Return something that exists, None if nothing of that name is known."""
        staged, made = self._staged.get(name), self._made.get(name)
        known = made if made and (not staged or next(_numbers) % 2) else staged
        if not known:
            return None
        known.rotate(-1)
        return known[-1]

    def learn(self, name: str, value: str) -> None:
        """Remember what was made."""
        self._made[name].append(value)


def completed_addresses(route: str, parameters: MutableMapping[str, Any], known: KnownNames) -> None:
    """Let parameters, of a path or a query, name what exists."""
    for name in parameters:
        # What is sold alone is no bundle, and the other way round.
        kind = "bundle" if "/bundles/" in route else name
        if (existing := known.of(kind)) is not None:
            parameters[name] = [existing] if isinstance(parameters[name], list) else existing


def completed_body(route: str, body: Any, known: KnownNames) -> Any:
    """Return the body as it is accepted, as far as the route's rules are known."""
    found = _completed(body, "", known)
    complete = _ROUTES.get(route)
    if complete is None:
        return found
    for row in found if isinstance(found, list) else [found]:
        if isinstance(row, dict):
            complete(row, known)
    return found


def _completed(value: Any, name: str, known: KnownNames) -> Any:
    if isinstance(value, dict):
        return {key: _completed(one, key, known) for key, one in value.items()}
    if isinstance(value, list):
        return [_completed(one, name, known) for one in value]
    if isinstance(value, str):
        if name.endswith("_at") or name in _FUTURE:
            return _time(_SOON if name in _FUTURE else timedelta())
        return known.of(name) or value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return min(int(value), _AT_MOST[name]) if name in _AT_MOST else value
    return value


def _time(distance: timedelta) -> str:
    return (SystemClock().now() + distance).isoformat()


def _each_once(lines: list[Body], name: str = "sku") -> list[Body]:
    """Return the lines without those that name again what one before them named."""
    firsts: dict[Any, Body] = {}
    for line in lines:
        firsts.setdefault(line.get(name), line)
    return list(firsts.values())


def _without(body: Body, *names: str) -> None:
    for name in names:
        body.pop(name, None)


def _product(body: Body, known: KnownNames) -> None:
    body["sku"] = f"MADE-{next(_numbers)}"
    known.learn("sku", body["sku"])


def _category(body: Body, _known: KnownNames) -> None:
    body["code"] = f"made-{next(_numbers)}"


def _order(body: Body, _known: KnownNames) -> None:
    number = next(_numbers)
    # Whoever was erased can order nothing.
    body["customer_id"] = f"customer-{number}"
    outcome = _OUTCOMES[number % len(_OUTCOMES)]
    if outcome == "held":
        # Dear enough for a person to look at.
        body["lines"][0] |= {"quantity": 1, "unit_price_minor": 10**9}
    if outcome == "kept waiting":
        body["lines"][0]["sku"] = MISSING_SKU
    body["payment"] = {"token": "tok_ok"}
    _without(body, "discounts", "taxes", "total_minor", "hold_id", "collect_at", "reference", "email_hash")


def _edit(body: Body, known: KnownNames) -> None:
    _without(body, "taxes", "ship_to", "payment_token")
    line = {"sku": known.of("sku"), "quantity": 1, "unit_price_minor": 0}
    body["add"] = [*body.get("add", [])[:1], line]
    body["lines"] = []


def _action(body: Body, known: KnownNames) -> None:
    _without(body, "shipment_id", "refund_minor")
    if body.get("action") in {"refund-parcel", "reship"}:
        body["shipment_id"] = known.of("shipment_id")


def _return(body: Body, _known: KnownNames) -> None:
    body["lines"] = _each_once(body["lines"])
    _without(body, "exchange_for", "payment_token")


def _lines(body: Body, _known: KnownNames) -> None:
    if body.get("lines"):
        body["lines"] = _each_once(body["lines"])


def _block(body: Body, _known: KnownNames) -> None:
    _without(body, "order_id")
    body |= {"subject": "customer", "value": f"customer-{next(_numbers)}"}


def _promotion(body: Body, _known: KnownNames) -> None:
    is_share = body.get("kind") == "percent"
    _without(body, *(("amount_minor",) if is_share else ("rate_ppm",)))
    body |= {"currency": "GBP"} | ({"rate_ppm": _MINOR_MAX} if is_share else {"amount_minor": _MINOR_MAX})


def _webhook(body: Body, _known: KnownNames) -> None:
    body |= {"url": WEBHOOK_URL, "event_types": ["*"]}


def _stock_event(body: Body, _known: KnownNames) -> None:
    body["id"] = str(uuid4())
    _without(body, "sequence", "lot", "expires_on")
    if "unit_cost_minor" in body or "currency" in body:
        body |= {"unit_cost_minor": _MINOR_MAX, "currency": "GBP"}


def _behaviour_event(body: Body, _known: KnownNames) -> None:
    body["id"] = str(uuid4())


def _hold(body: Body, known: KnownNames) -> None:
    body["reservation_id"] = str(uuid4())
    body["lines"] = _each_once(body["lines"])
    known.learn("reservation_id", body["reservation_id"])


def _transfer(body: Body, known: KnownNames) -> None:
    body["lines"] = _each_once(body["lines"])
    while body["destination"] == body["source"]:
        body["destination"] = known.of("destination")


def _moved(body: Body, known: KnownNames) -> None:
    _lines(body, known)
    _without(body, "occurred_at")


def _bundle(body: Body, _known: KnownNames) -> None:
    body["components"] = _each_once(body["components"])


def _carrier(body: Body, _known: KnownNames) -> None:
    # Or what is made up would carry the parcels of the shop.
    body |= {"currency": "GBP", "is_active": False}
    body["services"] = _each_once(body["services"], "service")
    for service in body["services"]:
        service["rates"] = _each_once(service["rates"], "zone")


_ROUTES: Final[Mapping[str, Callable[[Body, KnownNames], None]]] = {
    "POST /v1/products": _product,
    "POST /v1/categories": _category,
    "POST /v1/orders": _order,
    "POST /v1/orders/{order_id}/edits": _edit,
    "POST /v1/orders/{order_id}/actions": _action,
    "POST /v1/orders/{order_id}/returns": _return,
    "POST /v1/returns/{return_id}/arrival": _lines,
    "POST /v1/returns/{return_id}/inspection": _lines,
    "POST /v1/returns/{return_id}/receipt": _lines,
    "POST /v1/review-blocks": _block,
    "PUT /v1/promotions/{code}": _promotion,
    "POST /v1/webhooks": _webhook,
    "POST /v1/stock-events": _stock_event,
    "POST /v1/behaviour-events": _behaviour_event,
    "POST /v1/reservations": _hold,
    "POST /v1/reservations/{reservation_id}/commit": _lines,
    "POST /v1/transfers": _transfer,
    "POST /v1/transfers/{transfer_id}/dispatch": _moved,
    "POST /v1/transfers/{transfer_id}/receive": _moved,
    "PUT /v1/bundles/{sku}": _bundle,
    "PUT /v1/carriers/{carrier}": _carrier,
}
