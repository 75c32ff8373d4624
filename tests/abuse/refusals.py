"""
What a route refuses although its schema allows it, and why no schema can say so.

The only such refusals that schemathesis may meet: what else is refused, the OpenAPI document has to forbid. A field is
named as in a problem, with `*` for the position in a list.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

# By the code of a problem.
CODES: Final[Mapping[str, str]] = {
    "unstorable-text": "JSON and addresses can carry NUL, no database here can",
    "idempotency-key-reused": "keys are the caller's, and a request that was tried again is not the same request",
    "event-id-reused": "ids are the reporter's, and another report under one of them is not the same report",
}
# By the beginning of a reason.
REASONS: Final[Mapping[str, str]] = {
    "Input should be a valid integer": "JSON Schema takes 1.0 for an integer",
    "a whole number is needed": "the same in a query",
    "Value error, a whole number is needed": "the same in a query",
    "It must be printable text without spaces at its ends.": "JSON Schema has no word for what is printable",
}
# By the field, on every route.
FIELDS: Final[Mapping[str, str]] = {
    "cursor": "only the list that made a cursor can read it",
    # The document has a pattern for both; what is made up for headers does not heed it.
    "If-Match": "a list of entity tags has a form",
    "If-None-Match": "a list of entity tags has a form",
}
_UNKNOWN_WAREHOUSE: Final = "warehouses are registered, not enumerated"
_IN_ORDER: Final = "a schema cannot compare two fields"
_EACH_ONCE: Final = "a schema cannot say that a part of the items is unique"
_AS_CONFIGURED: Final = "the limit is the shop's, or its channel's"
_BUSINESS_TIME: Final = "what is too long ago or in the future moves with the clock"
_OF_A_KIND: Final = "which of two fields is needed depends on a third"
_SUM: Final = "a schema cannot add up"
_OF_THE_TRANSFER: Final = "what a transfer moves is not in the document"
_ITS_OWN: Final = "what the order, or the return, consists of is not in the document"
ROUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "GET /v1/reports/cover": {"since": _IN_ORDER, "until": _IN_ORDER},
    "GET /v1/reports/turnover": {"since": _IN_ORDER, "until": _IN_ORDER},
    "GET /v1/reports/dead-stock": {"as_of": _BUSINESS_TIME},
    "GET /v1/reports/stock-value": {"as_of": _BUSINESS_TIME},
    **{
        f"GET /v1/reports/{name}": {"since": _IN_ORDER, "until": _IN_ORDER}
        for name in ("settlement", "delays", "calibration", "funnel", "revenue", "reasons", "cycle-times", "cohorts")
    },
    "PUT /v1/stock/{sku}/policy": {"safety_stock_by_warehouse.*": _UNKNOWN_WAREHOUSE},
    "POST /v1/products": {"category": "categories are made, not enumerated"},
    "PUT /v1/products/{sku}": {"category": "categories are made, not enumerated"},
    "PATCH /v1/products/{sku}": {"category": "categories are made, not enumerated"},
    "POST /v1/categories": {"parent": "categories are made, not enumerated", "code": "none is above itself"},
    "PUT /v1/categories/{code}": {"parent": "categories are made, and none is above itself"},
    "POST /v1/products/import": {"header": "of a CSV file, a schema says that it is a text"},
    "POST /v1/categories/import": {"header": "of a CSV file, a schema says that it is a text"},
    "POST /v1/orders/import": {"header": "of a CSV file, a schema says that it is a text"},
    "PUT /v1/carriers/{carrier}": {
        "body": _EACH_ONCE,
        "services.*": _EACH_ONCE,
        "currency": "it is the shop's",
    },
    "POST /v1/count-lists": {"warehouse": _UNKNOWN_WAREHOUSE},
    "POST /v1/reservations": {"lines": _AS_CONFIGURED, "ttl_seconds": _AS_CONFIGURED},
    "POST /v1/reservations/{reservation_id}/extend": {"ttl_seconds": _AS_CONFIGURED},
    "POST /v1/stock-events": {
        "warehouse": _UNKNOWN_WAREHOUSE,
        "destination": _UNKNOWN_WAREHOUSE,
        "occurred_at": _BUSINESS_TIME,
        "expected_at": _BUSINESS_TIME,
        "expires_on": _BUSINESS_TIME,
        "unit_cost_minor": _OF_A_KIND,
        "currency": _OF_A_KIND,
        "lot": _OF_A_KIND,
    },
    "POST /v1/transfers": {
        "lines.*.sku": "what the source has ever had is not in the document",
        "source": _UNKNOWN_WAREHOUSE,
        "destination": "it is another warehouse than the source",
        "expected_at": _BUSINESS_TIME,
    },
    "POST /v1/transfers/{transfer_id}/dispatch": {"lines.*.sku": _OF_THE_TRANSFER, "occurred_at": _BUSINESS_TIME},
    "POST /v1/transfers/{transfer_id}/receive": {"lines.*.sku": _OF_THE_TRANSFER, "occurred_at": _BUSINESS_TIME},
    "POST /v1/warehouses/{warehouse}/gaps/accept": {
        "first": "which numbers are missing is not in the document",
        "last": _IN_ORDER,
    },
    "PUT /v1/bundles/{sku}": {
        "body": _EACH_ONCE,
        "components.*.sku": "a bundle is not made of bundles",
        "sku": "nor is a component one",
    },
    "POST /v1/orders": {
        "total_minor": _SUM,
        "lines": _SUM,
        "discounts.*.amount_minor": _SUM,
        "discounts.*.lines": "a schema cannot count lines",
        "taxes.*.lines": "a schema cannot count lines",
        "taxes.*.amount_minor": _SUM,
        "lines.*.unit_price_minor": _AS_CONFIGURED,
        "payment.method": _AS_CONFIGURED,
        "placed_at": _BUSINESS_TIME,
    },
    "POST /v1/orders/{order_id}/edits": {
        "body": "one of three fields at least, and what they add up to",
        "lines": "what the order is already is not in the document",
        "lines.*.line": _ITS_OWN,
        "ship_to": "the country is the order's",
        "taxes.*.lines": _ITS_OWN,
        "taxes.*.amount_minor": _SUM,
        "payment_token": "whether the order costs more then depends on what it is",
    },
    "POST /v1/orders/{order_id}/returns": {
        "lines": _EACH_ONCE,
        "lines.*.sku": _ITS_OWN,
        "exchange_for": "whether it costs more than what comes back is worth depends on the order",
    },
    "POST /v1/returns/{return_id}/arrival": {
        "lines": _EACH_ONCE,
        "lines.*.sku": _ITS_OWN,
        "lines.*.quantity": _ITS_OWN,
        "received_at": _BUSINESS_TIME,
    },
    "POST /v1/returns/{return_id}/inspection": {
        "lines": _EACH_ONCE,
        "lines.*.sku": _ITS_OWN,
        "lines.*.quantity": _ITS_OWN,
    },
    "POST /v1/returns/{return_id}/receipt": {
        "lines": _EACH_ONCE,
        "lines.*.sku": _ITS_OWN,
        "lines.*.quantity": _ITS_OWN,
        "received_at": _BUSINESS_TIME,
    },
    "POST /v1/orders/{order_id}/actions": {"shipment_id": _OF_A_KIND, "refund_minor": _OF_A_KIND, "body": _OF_A_KIND},
    "POST /v1/review-blocks": {
        "order_id": "what is known of the order is not in the document",
        "value": _OF_A_KIND,
        "expires_at": _BUSINESS_TIME,
    },
    "PUT /v1/promotions/{code}": {"body": _OF_A_KIND, "valid_to": _IN_ORDER},
    "POST /v1/webhooks": {"url": "whether a host has an address that is allowed is not a matter of its form"},
    "PATCH /v1/webhooks/{webhook_id}": {
        "url": "whether a host has an address that is allowed is not a matter of its form"
    },
    "POST /v1/behaviour-events": {"occurred_at": _BUSINESS_TIME},
    "POST /v1/shipments/{shipment_id}/dispatch": {"dispatched_at": _BUSINESS_TIME},
    "POST /v1/shipments/{shipment_id}/scans": {"scanned_at": _BUSINESS_TIME},
    "POST /v1/shipments/{shipment_id}/delivery": {"delivered_at": _BUSINESS_TIME},
    "POST /v1/shipments/{shipment_id}/failure": {"failed_at": _BUSINESS_TIME},
    "GET /v1/orders/{order_id}/events": {"Last-Event-ID": "only the stream that made it can read it"},
    "GET /v1/shipments/{shipment_id}/events": {"Last-Event-ID": "only the stream that made it can read it"},
}


def why(route: str, problem: Mapping[str, Any]) -> list[str | None]:
    """Return for each error of a refusal why it was to be expected of the route, None if it was not."""
    errors = problem.get("errors") or [{"field": None, "reason": problem.get("detail") or ""}]
    return [CODES.get(problem["code"]) or _why(route, error) for error in errors]


def _why(route: str, error: Mapping[str, Any]) -> str | None:
    field = re.sub(r"\.\d+(?=\.|$)", ".*", error.get("field") or "")
    by_reason = next((REASONS[start] for start in REASONS if error["reason"].startswith(start)), None)
    listed = ROUTES.get(route, {})
    # What is in a table by codes is named by its code.
    return by_reason or FIELDS.get(field) or listed.get(field) or listed.get(re.sub(r"\.[^.]+$", ".*", field))
