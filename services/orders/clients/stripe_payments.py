"""
Stripe as a payment provider, through its official library.

An authorisation is a PaymentIntent with manual capture; the command's id is the Idempotency-Key of the request and is
kept in the object's metadata, which is how `query` finds out what became of it long after the key has expired at
Stripe (https://docs.stripe.com/api/idempotent_requests). The library's own retries are off: a second attempt is only
made after a query.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
import stripe

from libs.common.telemetry.logs import get_logger
from services.orders.clients.bounded_calls import Ask, BoundedCalls
from services.orders.clients.stripe_books import StripeBooks
from services.orders.clients.stripe_objects import (
    COMMAND_ID,
    ORDER_ID,
    AmountNotPayable,
    Intent,
    Refund,
    UnexpectedAnswer,
    capture_key,
    decline_reason,
    intent_of,
    refund_of,
    to_stripe_amount,
)
from services.orders.domain.state import StepKind
from services.orders.handlers.ports import PaymentCommand, PaymentOutcome, PaymentResult

# "Under normal operating conditions, data is searchable in less than 1 minute": https://docs.stripe.com/search
VISIBLE_AFTER: Final = timedelta(minutes=5)

_UNKNOWN: Final = PaymentResult(PaymentOutcome.UNKNOWN)
_NOT_FOUND: Final = PaymentResult(PaymentOutcome.NOT_FOUND)
_REFUNDS_PER_PAGE: Final = 100

log = get_logger()


class StripePayments:
    """A `PaymentGateway` in front of Stripe."""

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str,
        call_timeout: timedelta,
        calls_max: int,
        answer_within: timedelta,
        is_multicapture: bool,
    ) -> None:
        """
        `calls_max` calls are made at a time; what has no answer after `answer_within` is unknown.

        `is_multicapture` says whether the account may capture a PaymentIntent in parts.
        """
        self._http = stripe.HTTPXClient(timeout=call_timeout.total_seconds())
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url.rstrip("/")},
            max_network_retries=0,
            http_client=self._http,
        )
        self.books = StripeBooks(client)
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._calls = BoundedCalls("stripe", calls_max=calls_max, answer_within=answer_within)
        self._is_multicapture = is_multicapture

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Carry out commands, each under its key (see `PaymentGateway.execute`)."""
        return await self._calls.ask_all(commands, partial(_certain, ask=self._execute))

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Ask what became of commands (see `PaymentGateway.query`)."""
        return await self._calls.ask_all(commands, partial(_certain, ask=self._query))

    async def _execute(self, command: PaymentCommand) -> PaymentResult:
        match command.kind:
            case StepKind.AUTHORISE:
                return await self._authorise(command)
            case StepKind.CAPTURE:
                return await self._capture(command)
            case StepKind.VOID:
                # What is captured in part may have been let go of with its last part.
                found = _voided(await self._retrieve(command))
                return _voided(await self._cancel(command)) if found.outcome is PaymentOutcome.NOT_FOUND else found
            case StepKind.REFUND:
                return await self._refund(command)

    async def _query(self, command: PaymentCommand) -> PaymentResult:
        match command.kind:
            case StepKind.AUTHORISE:
                found = await self._intents.search_async({"query": f"metadata['{COMMAND_ID}']:'{command.id}'"})
                return authorised(intent_of(found.data[0]), command) if found.data else _NOT_FOUND
            case StepKind.CAPTURE:
                return _captured(await self._retrieve(command), command)
            case StepKind.VOID:
                return _voided(await self._retrieve(command))
            case StepKind.REFUND:
                return await self._find_refund(command)

    async def _authorise(self, command: PaymentCommand) -> PaymentResult:
        params: Any = {
            "amount": to_stripe_amount(command.amount_minor, command.currency),
            "currency": command.currency.lower(),
            "payment_method": command.token,
            "payment_method_types": ["card"],
            "capture_method": "manual",
            "confirm": True,
            # Nobody is there to be sent to a bank's page: that counts as declined.
            "error_on_requires_action": True,
            "metadata": {COMMAND_ID: str(command.id), ORDER_ID: str(command.order_id)},
        }
        if self._is_multicapture:
            params["payment_method_options"] = {"card": {"request_multicapture": "if_available"}}
        created = await self._intents.create_async(params, _under(command.id))
        return authorised(intent_of(created), command)

    async def _capture(self, command: PaymentCommand) -> PaymentResult:
        params: Any = {
            "amount_to_capture": to_stripe_amount(command.amount_minor, command.currency),
            "metadata": {capture_key(command.id): str(command.amount_minor)},
        }
        if self._is_multicapture:
            params["final_capture"] = command.amount_minor >= command.held_minor
        captured = await self._intents.capture_async(_reference(command), params, _under(command.id))
        return _captured(intent_of(captured), command)

    async def _cancel(self, command: PaymentCommand) -> Intent:
        # Of a partly captured PaymentIntent this lets the rest go: https://docs.stripe.com/api/payment_intents/cancel
        params: Any = {"cancellation_reason": "abandoned"}
        return intent_of(await self._intents.cancel_async(_reference(command), params, _under(command.id)))

    async def _refund(self, command: PaymentCommand) -> PaymentResult:
        created = await self._refunds.create_async(
            {
                "payment_intent": _reference(command),
                "amount": to_stripe_amount(command.amount_minor, command.currency),
                "metadata": {COMMAND_ID: str(command.id), ORDER_ID: str(command.order_id)},
            },
            _under(command.id),
        )
        return refunded(refund_of(created), command)

    async def _retrieve(self, command: PaymentCommand) -> Intent:
        return intent_of(await self._intents.retrieve_async(_reference(command)))

    async def _find_refund(self, command: PaymentCommand) -> PaymentResult:
        page: Any = {"payment_intent": _reference(command), "limit": _REFUNDS_PER_PAGE}
        while True:
            found = await self._refunds.list_async(page)
            refunds = [refund_of(one) for one in found.data]
            for one in refunds:
                if one.metadata.get(COMMAND_ID) == str(command.id):
                    return refunded(one, command)
            if not found.has_more or not refunds:
                return _NOT_FOUND
            page["starting_after"] = refunds[-1].id


def authorised(intent: Intent, command: PaymentCommand) -> PaymentResult:
    """Say what a PaymentIntent means for the command that created it."""
    _check(intent.amount, intent.currency, command)
    match intent.status:
        case "requires_capture" | "succeeded":
            return PaymentResult(PaymentOutcome.SUCCEEDED, intent.id)
        case "requires_payment_method" | "requires_action" | "canceled":
            return PaymentResult(PaymentOutcome.DECLINED, intent.id, decline_reason(intent.last_payment_error))
        case _:
            return _UNKNOWN


def refunded(refund: Refund, command: PaymentCommand) -> PaymentResult:
    """Say what a Refund means for the command that created it; `pending` is not yet anything."""
    _check(refund.amount, refund.currency, command)
    match refund.status:
        case "succeeded":
            return PaymentResult(PaymentOutcome.SUCCEEDED, refund.id)
        case "failed" | "canceled":
            return PaymentResult(PaymentOutcome.DECLINED, refund.id, "refund-failed")
        case _:
            return _UNKNOWN


def _captured(intent: Intent, command: PaymentCommand) -> PaymentResult:
    captured = intent.metadata.get(capture_key(command.id))
    if captured is not None:
        if captured != str(command.amount_minor):
            raise UnexpectedAnswer(f"{captured} was captured for {command.amount_minor}")
        return PaymentResult(PaymentOutcome.SUCCEEDED, intent.id)
    match intent.status:
        case "requires_capture":
            return _NOT_FOUND
        case "canceled":
            return PaymentResult(PaymentOutcome.DECLINED, intent.id, "authorisation-expired")
        case "succeeded":
            return PaymentResult(PaymentOutcome.DECLINED, intent.id, "captured-elsewhere")
        case _:
            return _UNKNOWN


def _voided(intent: Intent) -> PaymentResult:
    match intent.status:
        case "canceled":
            return PaymentResult(PaymentOutcome.SUCCEEDED, intent.id)
        case "succeeded" if intent.amount_received < intent.amount:
            # Captured in part, and the rest let go.
            return PaymentResult(PaymentOutcome.SUCCEEDED, intent.id)
        case "succeeded":
            return PaymentResult(PaymentOutcome.DECLINED, intent.id, "captured-elsewhere")
        case "requires_capture":
            return _NOT_FOUND
        case _:
            return _UNKNOWN


async def _certain(command: PaymentCommand, ask: Ask) -> PaymentResult:
    """Ask; only what Stripe has decided is a decline, everything else that goes wrong leaves the outcome unknown."""
    try:
        return await ask(command)
    except AmountNotPayable:
        return PaymentResult(PaymentOutcome.DECLINED, reason="amount-not-payable")
    except stripe.CardError as error:
        return PaymentResult(PaymentOutcome.DECLINED, reason=decline_reason(_card_error(error)))
    except stripe.IdempotencyError as error:
        # The key is in use this moment, or was used with other parameters: either way something has happened.
        return _unknown(command, error)
    except stripe.InvalidRequestError as error:
        reason = _TOKEN_USED if _USED_BEFORE in (error.user_message or "") else _REFUSALS.get(error.code or "")
        if error.param == "currency":
            # One that Stripe does not know; this refusal has no code.
            reason = "currency-not-supported"
        return _unknown(command, error) if reason is None else PaymentResult(PaymentOutcome.DECLINED, reason=reason)
    except (stripe.StripeError, UnexpectedAnswer, msgspec.ValidationError) as error:
        return _unknown(command, error)


_TOKEN_USED: Final = "token-used"  # noqa: S105 - a reason
# Of a PaymentMethod without a customer; this refusal has no code, only these words.
_USED_BEFORE: Final = "may not be used again"
# What Stripe will answer again, however often it is asked; anything else may be a matter of configuration or time.
_REFUSALS: Final = {
    "resource_missing": "unknown-payment",
    "token_already_used": _TOKEN_USED,
    "amount_too_small": "amount-too-small",
    "amount_too_large": "amount-too-large",
    "charge_already_refunded": "already-refunded",
    "charge_disputed": "disputed",
    "payment_intent_unexpected_state": "not-in-this-state",
    "capture_charge_authorization_expired": "authorisation-expired",
    "charge_expired_for_capture": "authorisation-expired",
    "charge_already_captured": "captured-elsewhere",
    "payment_method_unactivated": "method-not-active",
    "currency_not_supported": "currency-not-supported",
}


def _card_error(error: stripe.CardError) -> dict[str, Any]:
    body = error.json_body if isinstance(error.json_body, dict) else {}
    details = body.get("error")
    return details if isinstance(details, dict) else {"code": error.code}


def _unknown(command: PaymentCommand, error: Exception) -> PaymentResult:
    # Never the message: it may repeat what was sent.
    log.warning(
        "stripe.no_answer",
        command_id=str(command.id),
        kind=command.kind,
        error=type(error).__name__,
        cause=type(error.__cause__).__name__,
        status=getattr(error, "http_status", None),
        code=getattr(error, "code", None),
        request_id=getattr(error, "request_id", None),
    )
    return _UNKNOWN


def _check(amount: int, currency: str, command: PaymentCommand) -> None:
    wanted = (to_stripe_amount(command.amount_minor, command.currency), command.currency.lower())
    if (amount, currency) != wanted:
        raise UnexpectedAnswer(f"{amount} {currency} instead of {wanted[0]} {wanted[1]}")


def _reference(command: PaymentCommand) -> str:
    if command.reference is None:
        raise UnexpectedAnswer("nothing was authorised that this could be about")
    return command.reference


def _under(key: UUID) -> stripe.RequestOptions:
    return {"idempotency_key": str(key)}
