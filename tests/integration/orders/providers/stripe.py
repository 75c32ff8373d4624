"""A double of Stripe: PaymentIntents and Refunds in its wire format, with its idempotent requests."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import stripe
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.integration.orders.providers.double import Double, running

API_KEY = "sk_test_money"
DECLINES = {
    "pm_card_declined": "generic_decline",
    "pm_card_poor": "insufficient_funds",
    "pm_card_stolen": "stolen_card",
}
CARD = "pm_card_visa"
OTHER_CARD = "pm_card_mastercard"
CREATED = 1_772_442_000
CURRENCIES = {"gbp", "jpy", "isk", "mga", "kwd"}
USED = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a"
    " connected account without Customer attachment, or was detached from a Customer. It may not be used again. To use"
    " a PaymentMethod multiple times, you must attach it to a Customer first."
)


class Refused(Exception):
    def __init__(self, status: int, **error: str) -> None:
        self.status = status
        self.error = error


@dataclass
class StripeDouble(Double):
    """Everything that this account holds; `is_searchable` is whether the search index is up to date."""

    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    captures: list[int] = field(default_factory=list)
    is_searchable: bool = True
    # By the Idempotency-Key of the request that made it.
    made_under: dict[str, str] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _answers: dict[str, tuple[bytes, int, bytes]] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["StripeDouble"]:
        double = cls()
        async with running(double, double.handle):
            yield double

    @property
    def intent(self) -> dict[str, Any]:
        [only] = self.intents.values()
        return only

    async def handle(self, request: Request) -> Response:
        path = request.path_params["path"]
        verb = path.rpartition("/")[2]
        what = f"{request.method} {verb if not re.match('^(pi|re)_', verb) else 'one'}"
        body = await request.body()

        async def do() -> Response:
            return self._keyed(request, path, body)

        return await self.answer(what, do)

    def _keyed(self, request: Request, path: str, body: bytes) -> Response:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            return _error(Refused(401, type="invalid_request_error", message="Invalid API Key provided"))
        key = request.headers.get("idempotency-key", "")
        if request.method == "POST" and key in self._answers:
            asked, status, answer = self._answers[key]
            if asked != path.encode() + body:
                return _error(Refused(400, type="idempotency_error", message="Keys can only be used once."))
            return Response(answer, status, {"Idempotent-Replayed": "true"}, "application/json")
        try:
            done = self._do(request.method, path, _parameters(body, request))
            if request.method == "POST" and done["id"] not in self.made_under.values():
                self.made_under[key] = str(done["id"])
            response: Response = JSONResponse(done)
        except Refused as refused:
            response = _error(refused)
        if request.method == "POST":
            self._answers[key] = (path.encode() + body, response.status_code, bytes(response.body))
        return response

    def _do(self, method: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: PLR0911 - one for each call
        match method, path.split("/")[1:]:
            case "POST", ["payment_intents"]:
                return self._create(asked)
            case "GET", ["payment_intents", "search"]:
                [wanted] = re.findall(r"^metadata\['command_id'\]:'([0-9a-f-]{36})'$", asked["query"])
                known = self.intents.values() if self.is_searchable else ()
                return _list([one for one in known if one["metadata"]["command_id"] == wanted])
            case "GET", ["payment_intents"]:
                assert {"gte", "lt"} <= asked["created"].keys()
                return _list([self._expanded(one) for one in self.intents.values()])
            case "GET", ["payment_intents", name]:
                found = self._find(name)
                return self._expanded(found) if "expand" in asked else found
            case "POST", ["payment_intents", name, "capture"]:
                return self._capture(self._find(name), asked)
            case "POST", ["payment_intents", name, "cancel"]:
                return self._cancel(self._find(name))
            case "POST", ["refunds"]:
                return self._refund(asked)
            case "GET", ["refunds"]:
                return _list([one for one in self.refunds.values() if one["payment_intent"] == asked["payment_intent"]])
            case _:
                raise Refused(404, type="invalid_request_error", message="Unrecognized request URL")

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["capture_method"] == "manual"
        assert asked["confirm"] == "true"
        if asked["currency"] not in CURRENCIES:
            raise Refused(400, type="invalid_request_error", param="currency", message="Invalid currency")
        token = asked["payment_method"]
        if token in DECLINES:
            raise Refused(
                402, type="card_error", code="card_declined", decline_code=DECLINES[token], message="Declined"
            )
        if token not in {CARD, OTHER_CARD}:
            raise Refused(400, type="invalid_request_error", code="resource_missing", message="No such PaymentMethod")
        if token in self._used:
            raise Refused(400, type="invalid_request_error", message=USED)
        self._used.add(token)
        intent = {
            "id": f"pi_{len(self.intents) + 1}",
            "object": "payment_intent",
            "status": "requires_capture",
            "amount": int(asked["amount"]),
            "amount_capturable": int(asked["amount"]),
            "amount_received": 0,
            "currency": asked["currency"],
            "created": CREATED,
            "metadata": asked["metadata"],
            "last_payment_error": None,
            "latest_charge": "ch_1",
        }
        self.intents[str(intent["id"])] = intent
        return intent

    def _expanded(self, intent: dict[str, Any]) -> dict[str, Any]:
        refunded = sum(one["amount"] for one in self.refunds.values() if one["payment_intent"] == intent["id"])
        return intent | {"latest_charge": {"id": "ch_1", "object": "charge", "amount_refunded": refunded}}

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self.intents:
            raise Refused(404, type="invalid_request_error", code="resource_missing", message="No such PaymentIntent")
        return self.intents[name]

    def _capture(self, intent: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        amount = int(asked["amount_to_capture"])
        if intent["status"] != "requires_capture":
            raise Refused(
                400, type="invalid_request_error", code="payment_intent_unexpected_state", message="Not capturable"
            )
        if amount > intent["amount_capturable"]:
            raise Refused(400, type="invalid_request_error", code="amount_too_large", message="Too much")
        self.captures.append(amount)
        intent["amount_received"] += amount
        intent["amount_capturable"] -= amount
        intent["metadata"] |= asked.get("metadata", {})
        if asked.get("final_capture", "true") == "true" or not intent["amount_capturable"]:
            intent["status"], intent["amount_capturable"] = "succeeded", 0
        return intent

    def _cancel(self, intent: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] != "requires_capture":
            raise Refused(
                400, type="invalid_request_error", code="payment_intent_unexpected_state", message="Not cancelable"
            )
        intent["status"] = "succeeded" if intent["amount_received"] else "canceled"
        intent["amount_capturable"] = 0
        return intent

    def _refund(self, asked: dict[str, Any]) -> dict[str, Any]:
        intent = self._find(asked["payment_intent"])
        amount = int(asked["amount"])
        refunded = sum(one["amount"] for one in self.refunds.values() if one["payment_intent"] == intent["id"])
        if amount > intent["amount_received"] - refunded:
            raise Refused(400, type="invalid_request_error", code="charge_already_refunded", message="Too much")
        refund = {
            "id": f"re_{len(self.refunds) + 1}",
            "object": "refund",
            "status": "succeeded",
            "amount": amount,
            "currency": intent["currency"],
            "payment_intent": intent["id"],
            "metadata": asked["metadata"],
        }
        self.refunds[str(refund["id"])] = refund
        return refund


def event(found: dict[str, Any], *, number: int = 1, kind: str = "payment_intent.amount_capturable_updated") -> str:
    """Return an event as Stripe sends it."""
    return json.dumps({"id": f"evt_{number}", "object": "event", "type": kind, "data": {"object": found}}, indent=2)


def signature(body: str, secret: str, *, at: int) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, at))


def _parameters(body: bytes, request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl((body or request.url.query.encode()).decode()):
        outer, _, inner = name.partition("[")
        if inner:
            found.setdefault(outer, {})[inner.rstrip("]")] = value
        else:
            found[outer] = value
    return found


def _list(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": found, "has_more": False, "url": "/v1"}


def _error(refused: Refused) -> JSONResponse:
    return JSONResponse({"error": refused.error}, refused.status)
