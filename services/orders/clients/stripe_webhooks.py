"""What Stripe tells through webhooks: https://docs.stripe.com/webhooks/signature."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
import stripe

from services.orders.clients.stripe_objects import (
    Intent,
    Refund,
    captures_of,
    command_of,
    decline_reason,
    from_stripe_amount,
)
from services.orders.domain.state import StepKind
from services.orders.handlers.notices import NoticeNotVerified, NoticeUnreadable
from services.orders.handlers.ports import Notice, NoticedResult, PaymentOutcome, PaymentResult

STRIPE: Final = "stripe"
_SIGNATURE: Final = "stripe-signature"
_REFUND_STATUS: Final = {
    "succeeded": PaymentOutcome.SUCCEEDED,
    "failed": PaymentOutcome.DECLINED,
    "canceled": PaymentOutcome.DECLINED,
}


class _Data(msgspec.Struct):
    object: dict[str, Any]


class _Event(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,255}$")]
    type: str
    data: _Data


_decode = msgspec.json.Decoder(_Event).decode


class StripeNotices:
    """A `NoticeReader` for Stripe."""

    acknowledgement = ""

    def __init__(self, secrets: Sequence[str], *, tolerance: timedelta) -> None:
        """While a secret is rolled, Stripe and this shop know two; a notice older than `tolerance` is refused."""
        self._secrets = tuple(secrets)
        self._tolerance = tolerance

    def read(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Notice:
        """Verify and read an event (see `NoticeReader.read`)."""
        self._verify(headers.get(_SIGNATURE, ""), body, now)
        try:
            event = _decode(body)
            results = _results(event.data.object)
        except (msgspec.MsgspecError, ValueError):
            raise NoticeUnreadable("This is no event of Stripe's.") from None
        return Notice(provider=STRIPE, event_id=event.id, results=results)

    def _verify(self, header: str, body: bytes, now: datetime) -> None:
        if not any(_is_signed_with(secret, header, body) for secret in self._secrets):
            raise NoticeNotVerified(
                "No signature in Stripe-Signature is right for this body.", field="Stripe-Signature"
            )
        if abs(now - _signed_at(header)) > self._tolerance:
            raise NoticeNotVerified("The event was not signed just now.", field="Stripe-Signature")


def _is_signed_with(secret: str, header: str, body: bytes) -> bool:
    try:
        # The library measures the tolerance by the machine's clock; that is done above, by ours.
        stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True


def _signed_at(header: str) -> datetime:
    try:
        seconds = int(next(part[2:] for part in header.split(",") if part.startswith("t=")))
        return datetime.fromtimestamp(seconds, UTC)
    except (StopIteration, ValueError, OverflowError, OSError):
        raise NoticeNotVerified("The time in Stripe-Signature is none.", field="Stripe-Signature") from None


def _results(found: dict[str, Any]) -> list[NoticedResult]:
    match found.get("object"):
        case "payment_intent":
            return _results_of_intent(msgspec.convert(found, Intent))
        case "refund":
            return _results_of_refund(msgspec.convert(found, Refund))
        case _:
            return []


def _results_of_intent(intent: Intent) -> list[NoticedResult]:
    """Whatever the event is called, the object says how far it is: events come late and in any order."""
    command_id = command_of(intent.metadata)
    if command_id is None:
        return []
    currency = intent.currency.upper()
    authorised = _authorised(intent)
    results = []
    if authorised is not None:
        results.append(
            NoticedResult(
                command_id=command_id,
                kind=StepKind.AUTHORISE,
                amount_minor=from_stripe_amount(intent.amount, currency),
                currency=currency,
                result=authorised,
            )
        )
    results.extend(
        NoticedResult(
            command_id=capture_id,
            kind=StepKind.CAPTURE,
            amount_minor=amount_minor,
            currency=currency,
            result=PaymentResult(PaymentOutcome.SUCCEEDED, intent.id),
        )
        for capture_id, amount_minor in captures_of(intent).items()
    )
    return results


def _authorised(intent: Intent) -> PaymentResult | None:
    match intent.status:
        case "requires_capture" | "succeeded":
            return PaymentResult(PaymentOutcome.SUCCEEDED, intent.id)
        case "requires_payment_method" if intent.last_payment_error is not None:
            return PaymentResult(PaymentOutcome.DECLINED, intent.id, decline_reason(intent.last_payment_error))
        case _:
            return None


def _results_of_refund(refund: Refund) -> list[NoticedResult]:
    command_id = command_of(refund.metadata)
    outcome = _REFUND_STATUS.get(refund.status or "")
    if command_id is None or outcome is None:
        return []
    currency = refund.currency.upper()
    reason = "" if outcome is PaymentOutcome.SUCCEEDED else "refund-failed"
    return [
        NoticedResult(
            command_id=command_id,
            kind=StepKind.REFUND,
            amount_minor=from_stripe_amount(refund.amount, currency),
            currency=currency,
            result=PaymentResult(outcome, refund.id, reason),
        )
    ]
