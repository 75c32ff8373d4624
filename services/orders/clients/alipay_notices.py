"""What Alipay tells through `notify_url`: https://opendocs.alipay.com/open/203/105286."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

from services.orders.clients.alipay_payments import CURRENCY, read_time, to_fen
from services.orders.clients.alipay_signatures import Verifier, text_of_notice
from services.orders.domain.state import StepKind
from services.orders.handlers.notices import NoticeNotVerified, NoticeUnreadable
from services.orders.handlers.ports import Notice, NoticedResult, PaymentOutcome, PaymentResult

ALIPAY: Final = "alipay"
_FIELDS_MAX: Final = 200
_PAID: Final = frozenset({"TRADE_SUCCESS", "TRADE_FINISHED"})


class AlipayNotices:
    """A `NoticeReader` for Alipay."""

    acknowledgement = "success"

    def __init__(self, app_id: str, verifier: Verifier, *, tolerance: timedelta) -> None:
        """Alipay repeats a notice for 25 hours, with its first time; one older than `tolerance` is refused."""
        self._app_id = app_id
        self._verifier = verifier
        self._tolerance = tolerance

    def read(self, _headers: Mapping[str, str], body: bytes, *, now: datetime) -> Notice:
        """Verify and read a notice (see `NoticeReader.read`)."""
        try:
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict"))
        except (UnicodeDecodeError, ValueError):
            raise NoticeNotVerified("The body is no form.") from None
        is_signed = self._verifier.is_signed(text_of_notice(fields).encode(), fields.get("sign", ""))
        if not is_signed or fields.get("sign_type") != "RSA2":
            raise NoticeNotVerified("The signature is not right for this body.", field="sign")
        if fields.get("app_id") != self._app_id:
            raise NoticeNotVerified("The notice is for another application.", field="app_id")
        try:
            if abs(now - read_time(fields["notify_time"])) > self._tolerance:
                raise NoticeNotVerified("The notice is too old.", field="notify_time")
            event_id = fields["notify_id"]
            results = _results(fields)
        except (KeyError, ValueError):
            raise NoticeUnreadable("This is no notice of Alipay's.") from None
        if not event_id.isascii() or not event_id.isprintable():
            raise NoticeUnreadable("This is no notice of Alipay's.", field="notify_id")
        return Notice(provider=ALIPAY, event_id=event_id, results=results)


def _results(fields: Mapping[str, str]) -> list[NoticedResult]:
    # A notice with `out_biz_no` is about a refund, of which the executor learns by itself.
    if fields["notify_type"] == "trade_status_sync" and not fields.get("out_biz_no"):
        if fields["trade_status"] not in _PAID:
            return []
        return _result(StepKind.CAPTURE, fields["out_trade_no"], fields["total_amount"], fields["trade_no"])
    if fields["notify_type"] == "fund_auth_freeze" and fields["status"] == "SUCCESS":
        return _result(StepKind.AUTHORISE, fields["out_request_no"], fields["amount"], fields["auth_no"])
    if fields["notify_type"] == "fund_auth_unfreeze" and fields["status"] == "SUCCESS":
        return _result(StepKind.VOID, fields["out_request_no"], fields["amount"], fields["auth_no"])
    return []


def _result(kind: StepKind, number: str, amount: str, reference: str) -> list[NoticedResult]:
    try:
        command_id = UUID(hex=number)
    except ValueError:
        # Another system's: the account may be shared.
        return []
    fen = to_fen(amount)
    if fen is None or not reference.isascii() or not reference.isprintable():
        message = "neither an amount nor a reference"
        raise ValueError(message)
    return [
        NoticedResult(
            command_id=command_id,
            kind=kind,
            amount_minor=fen,
            currency=CURRENCY,
            result=PaymentResult(PaymentOutcome.SUCCEEDED, reference),
        )
    ]
