"""What of Stripe's objects matters here, and Stripe's words for amounts and declines in ours."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import stripe

COMMAND_ID: Final = "command_id"
ORDER_ID: Final = "order_id"
_CAPTURE: Final = "capture:"

_Reference = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,255}$")]

# Stripe counts these in hundredths although they have none: https://docs.stripe.com/currencies#special-cases
_IN_HUNDREDTHS: Final = frozenset({"ISK", "UGX"})
# Stripe counts these in whole units although they have hundredths: https://docs.stripe.com/currencies#zero-decimal
_IN_WHOLE_UNITS: Final = frozenset({"MGA"})
# The last of their three digits has to be 0: https://docs.stripe.com/currencies#three-decimal
_IN_TENS: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})

_DECLINES: Final[Mapping[str, str]] = {
    "insufficient_funds": "insufficient-funds",
    "expired_card": "expired-card",
    "incorrect_cvc": "incorrect-security-code",
    "incorrect_number": "incorrect-number",
    "authentication_required": "authentication-required",
    "fraudulent": "fraud-suspected",
    "lost_card": "card-blocked",
    "stolen_card": "card-blocked",
    "pickup_card": "card-blocked",
    "card_velocity_exceeded": "limit-exceeded",
    "withdrawal_count_limit_exceeded": "limit-exceeded",
    "currency_not_supported": "currency-not-supported",
    "card_not_supported": "card-not-supported",
    "processing_error": "processing-error",
    "issuer_not_available": "issuer-not-available",
}
_DECLINED: Final = "card-declined"


class UnexpectedAnswer(Exception):
    """Stripe says something that does not go together with what was asked; whatever happened is not known."""


class AmountNotPayable(Exception):
    """Stripe moves no such amount of the currency; it was not asked to."""

    def __init__(self, amount_minor: int, currency: str) -> None:
        """Name the amount."""
        super().__init__(f"{amount_minor} minor units of {currency} are not payable by card")


class Intent(msgspec.Struct, kw_only=True, frozen=True):
    """A PaymentIntent; amounts are Stripe's."""

    id: _Reference
    status: str
    amount: Annotated[int, msgspec.Meta(ge=0)]
    currency: str
    amount_received: Annotated[int, msgspec.Meta(ge=0)] = 0
    amount_capturable: Annotated[int, msgspec.Meta(ge=0)] = 0
    created: int = 0
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    last_payment_error: dict[str, Any] | None = None


class Refund(msgspec.Struct, kw_only=True, frozen=True):
    """A Refund; the amount is Stripe's."""

    id: _Reference
    status: str | None
    amount: Annotated[int, msgspec.Meta(ge=0)]
    currency: str
    payment_intent: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


def intent_of(found: stripe.StripeObject) -> Intent:
    """
    Read a PaymentIntent.

    :raises msgspec.ValidationError: if it is none.
    """
    return msgspec.convert(found.to_dict(), Intent)


def refund_of(found: stripe.StripeObject) -> Refund:
    """
    Read a Refund.

    :raises msgspec.ValidationError: if it is none.
    """
    return msgspec.convert(found.to_dict(), Refund)


def command_of(metadata: Mapping[str, str]) -> UUID | None:
    """Return the command that an object was made for; None if another system made it."""
    try:
        return UUID(metadata.get(COMMAND_ID, ""))
    except ValueError:
        return None


def capture_key(command_id: UUID) -> str:
    """Return the metadata key that says that a capture was made: 40 characters, as long as Stripe allows."""
    return f"{_CAPTURE}{command_id.hex}"


def captures_of(intent: Intent) -> dict[UUID, int]:
    """Return the captures that we asked for and that were made, in our minor units."""
    return {
        UUID(hex=name.removeprefix(_CAPTURE)): int(amount)
        for name, amount in intent.metadata.items()
        if name.startswith(_CAPTURE)
    }


def to_stripe_amount(amount_minor: int, currency: str) -> int:
    """
    Return an amount as Stripe counts it.

    :raises AmountNotPayable: if it cannot be moved by Stripe.
    """
    currency = currency.upper()
    if (currency in _IN_TENS and amount_minor % 10) or (currency in _IN_WHOLE_UNITS and amount_minor % 100):
        raise AmountNotPayable(amount_minor, currency)
    if currency in _IN_WHOLE_UNITS:
        return amount_minor // 100
    return amount_minor * 100 if currency in _IN_HUNDREDTHS else amount_minor


def from_stripe_amount(amount: int, currency: str) -> int:
    """Return an amount in minor units of ISO 4217."""
    if currency.upper() in _IN_WHOLE_UNITS:
        return amount * 100
    return amount // 100 if currency.upper() in _IN_HUNDREDTHS else amount


def decline_reason(error: Mapping[str, Any] | None) -> str:
    """Say why a card was declined: https://docs.stripe.com/declines/codes."""
    if error is None:
        return _DECLINED
    for name in ("decline_code", "code"):
        if (reason := _DECLINES.get(str(error.get(name)))) is not None:
            return reason
    return _DECLINED
