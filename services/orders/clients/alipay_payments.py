"""
Alipay as a payment provider: the OpenAPI gateway with RSA2 signatures.

An authorisation freezes an amount (https://opendocs.alipay.com/open/02cdx8 and its neighbours), a capture is a trade
paid out of what is frozen, a void unfreezes the rest. Each request carries our command's id as its number
(`out_request_no`, `out_trade_no`), by which Alipay does it once and can be asked about it for ever.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from libs.common.clock import Clock
from libs.common.money import MINOR_MAX, minor_digits
from libs.common.telemetry.logs import get_logger
from services.orders.clients.alipay_signatures import AnswerNotVerified, Signer, Verifier, read_answer, text_to_sign
from services.orders.clients.bounded_calls import Ask, BoundedCalls
from services.orders.domain.state import StepKind
from services.orders.handlers.ports import PaymentCommand, PaymentOutcome, PaymentResult

# How long Alipay may take to find what it was just asked for.
VISIBLE_AFTER: Final = timedelta(minutes=1)
CURRENCY: Final = "CNY"
BEIJING: Final = timezone(timedelta(hours=8))

_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_OPERATION: Final = "alipay.fund.auth.operation.detail.query"
_DONE: Final = "10000"
_REFUSED: Final = "40004"
_PRODUCT: Final = "PRE_AUTH"
_UNKNOWN: Final = PaymentResult(PaymentOutcome.UNKNOWN)
_NOT_FOUND: Final = PaymentResult(PaymentOutcome.NOT_FOUND)

# Refusals that are not decisions: Alipay may have done it all the same.
_IN_DOUBT: Final = frozenset(
    {
        "SYSTEM_ERROR",
        "ACQ.SYSTEM_ERROR",
        "REQUEST_PROCESSING",
        "ACQ.TRADE_PAY_PROCESSING",
        "ORDER_ALREADY_EXIST",
        "ACQ.TRADE_HAS_SUCCESS",
        "UNFREEZE_REQUEST_ALREADY_EXIST",
    }
)
_NOT_THERE: Final = frozenset(
    {"AUTH_ORDER_NOT_EXIST", "AUTH_OPERATION_NOT_EXIST", "ACQ.TRADE_NOT_EXIST", "TRADE_NOT_EXIST"}
)
_REASONS: Final[Mapping[str, str]] = {
    "USER_BALANCE_NOT_ENOUGH": "insufficient-funds",
    "ACQ.BUYER_BALANCE_NOT_ENOUGH": "insufficient-funds",
    "PAYER_BALANCE_NOT_ENOUGH": "insufficient-funds",
    "AUTH_CODE_INVALID": "unknown-payment",
    "PAYMENT_AUTH_CODE_INVALID": "unknown-payment",
    "ACQ.PAYMENT_AUTH_CODE_INVALID": "unknown-payment",
    "PAYER_NOT_EXIST": "unknown-payment",
    "PAYER_USER_STATUS_LIMIT": "account-blocked",
    "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR": "limit-exceeded",
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": "seller-balance-not-enough",
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": "amount-not-available",
    "ACQ.REASON_TRADE_REFUND_FEE_ERR": "amount-not-available",
    "AUTH_AMOUNT_NOT_ENOUGH": "amount-not-available",
    "UNFREEZE_AMOUNT_NOT_ENOUGH": "amount-not-available",
    "AUTH_ORDER_HAS_CLOSED": "authorisation-expired",
    "AUTH_ORDER_HAS_FINISHED": "authorisation-expired",
    "ACQ.TRADE_HAS_CLOSE": "not-in-this-state",
    "ACQ.TRADE_HAS_FINISHED": "not-in-this-state",
}
_DECLINED: Final = "declined-by-alipay"

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayAccount:
    """Who asks, and how both sides prove who they are."""

    app_id: str
    signer: Signer
    verifier: Verifier
    gateway_url: str
    notify_url: str | None = None


class _Answer(msgspec.Struct, kw_only=True, frozen=True):
    """What the answers that are used here have in common; which fields there are depends on the question."""

    code: str
    sub_code: str = ""
    status: str = ""
    auth_no: str = ""
    amount: str | None = None
    out_request_no: str = ""
    out_trade_no: str = ""
    trade_no: str = ""
    trade_status: str = ""
    total_amount: str | None = None
    fund_change: str = ""
    refund_status: str = ""
    refund_amount: str | None = None


class AlipayPayments:
    """A `PaymentGateway` in front of Alipay."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        account: AlipayAccount,
        *,
        clock: Clock,
        calls_max: int,
        answer_within: timedelta,
    ) -> None:
        """`calls_max` calls are made at a time; what has no answer after `answer_within` is unknown."""
        self._client = client
        self._account = account
        self._clock = clock
        self._calls = BoundedCalls("alipay", calls_max=calls_max, answer_within=answer_within)

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Carry out commands, each under its number (see `PaymentGateway.execute`)."""
        return await self._calls.ask_all(commands, partial(_certain, ask=self._execute))

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Ask what became of commands, by their numbers (see `PaymentGateway.query`)."""
        return await self._calls.ask_all(commands, partial(_certain, ask=self._query))

    async def _execute(self, command: PaymentCommand) -> PaymentResult:
        if command.currency != CURRENCY:
            return PaymentResult(PaymentOutcome.DECLINED, reason="currency-not-supported")
        number, amount = command.id.hex, to_yuan(command.amount_minor)
        match command.kind:
            case StepKind.AUTHORISE:
                asked = {
                    "auth_code": command.token,
                    "auth_code_type": "bar_code",
                    "out_order_no": number,
                    "out_request_no": number,
                    "order_title": f"Order {command.order_id}",
                    "amount": amount,
                    "product_code": _PRODUCT,
                }
                return _frozen(await self._call("alipay.fund.auth.order.freeze", asked), command)
            case StepKind.CAPTURE:
                asked = {
                    "out_trade_no": number,
                    "auth_no": _authorisation(command),
                    "subject": f"Order {command.order_id}",
                    "total_amount": amount,
                    "product_code": _PRODUCT,
                    "auth_confirm_mode": "COMPLETE" if command.amount_minor >= command.held_minor else "NOT_COMPLETE",
                }
                return _paid(await self._call("alipay.trade.pay", asked), command)
            case StepKind.VOID:
                asked = {
                    "auth_no": _authorisation(command),
                    "out_request_no": number,
                    "amount": amount,
                    "remark": f"Order {command.order_id} is not fulfilled",
                }
                return _unfrozen(await self._call("alipay.fund.auth.order.unfreeze", asked), command)
            case StepKind.REFUND:
                asked = {**_trade_of(command), "out_request_no": number, "refund_amount": amount}
                return _refunded(await self._call("alipay.trade.refund", asked), command)

    async def _query(self, command: PaymentCommand) -> PaymentResult:
        method, asked, read = _question(command)
        answer = await self._call(method, asked)
        is_absent = answer.code == _REFUSED and answer.sub_code in _NOT_THERE
        return _NOT_FOUND if is_absent else read(answer, command)

    async def _call(self, method: str, asked: Mapping[str, Any]) -> _Answer:
        account = self._account
        parameters = {
            "app_id": account.app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": self._clock.now().astimezone(BEIJING).strftime(_TIME_FORMAT),
            "version": "1.0",
            "biz_content": msgspec.json.encode(asked).decode(),
        }
        if account.notify_url is not None:
            parameters["notify_url"] = account.notify_url
        parameters["sign"] = account.signer.sign(text_to_sign(parameters))
        response = await self._client.post(account.gateway_url, data=parameters, params={"charset": "utf-8"})
        if response.status_code != HTTPStatus.OK:
            raise AnswerNotVerified(f"status {response.status_code}")
        node = f"{method.replace('.', '_')}_response"
        return msgspec.convert(read_answer(response.text, node, account.verifier), _Answer)


def to_yuan(amount_minor: int) -> str:
    """Return an amount of fen as Alipay writes it."""
    digits = minor_digits(CURRENCY)
    return f"{Decimal(amount_minor).scaleb(-digits):.{digits}f}"


def to_fen(amount: str | None) -> int | None:
    """Return an amount as Alipay writes it in fen, None if it is none."""
    try:
        fen = Decimal(amount or "").scaleb(minor_digits(CURRENCY))
    except ArithmeticError:
        return None
    is_exact = fen.is_finite() and 0 <= fen <= MINOR_MAX and fen == fen.to_integral_value()
    return int(fen) if is_exact else None


def read_time(text: str) -> datetime:
    """
    Read a time of Alipay's, which is Beijing's.

    :raises ValueError: if it is none.
    """
    return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=BEIJING).astimezone(UTC)


def _question(
    command: PaymentCommand,
) -> tuple[str, dict[str, str], Callable[[_Answer, PaymentCommand], PaymentResult]]:
    """Return the method and the numbers to ask about a command by, and how to read the answer."""
    number = command.id.hex
    match command.kind:
        case StepKind.AUTHORISE:
            return _OPERATION, {"out_order_no": number, "out_request_no": number}, _frozen
        case StepKind.CAPTURE:
            return "alipay.trade.query", {"out_trade_no": number}, _traded
        case StepKind.VOID:
            return _OPERATION, {"auth_no": _authorisation(command), "out_request_no": number}, _unfrozen
        case StepKind.REFUND:
            return "alipay.trade.fastpay.refund.query", {**_trade_of(command), "out_request_no": number}, _refund_found


def _frozen(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code != _DONE:
        return _refusal(answer, command)
    match answer.status:
        case "SUCCESS" if to_fen(answer.amount) == command.amount_minor and answer.auth_no:
            return PaymentResult(PaymentOutcome.SUCCEEDED, answer.auth_no)
        case "CLOSED":
            return PaymentResult(PaymentOutcome.DECLINED, reason=_DECLINED)
        case _:
            return _UNKNOWN


def _paid(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code != _DONE:
        return _refusal(answer, command)
    is_whole = to_fen(answer.total_amount) == command.amount_minor and answer.out_trade_no == command.id.hex
    return PaymentResult(PaymentOutcome.SUCCEEDED, answer.trade_no) if is_whole else _UNKNOWN


def _traded(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code != _DONE:
        return _refusal(answer, command)
    match answer.trade_status:
        case "TRADE_SUCCESS" | "TRADE_FINISHED":
            return _paid(answer, command)
        case "TRADE_CLOSED":
            return PaymentResult(PaymentOutcome.DECLINED, answer.trade_no, "not-in-this-state")
        case _:
            return _UNKNOWN


def _unfrozen(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code != _DONE:
        return _refusal(answer, command)
    if answer.status == "SUCCESS" and to_fen(answer.amount) == command.amount_minor:
        return PaymentResult(PaymentOutcome.SUCCEEDED, answer.auth_no or command.reference or "")
    return PaymentResult(PaymentOutcome.DECLINED, reason=_DECLINED) if answer.status == "CLOSED" else _UNKNOWN


def _refunded(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code != _DONE:
        return _refusal(answer, command)
    # "N" also means that it was done before under this number, so that only a query tells.
    return PaymentResult(PaymentOutcome.SUCCEEDED, answer.trade_no) if answer.fund_change == "Y" else _UNKNOWN


def _refund_found(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code != _DONE:
        return _refusal(answer, command)
    if answer.refund_status == "REFUND_SUCCESS" and to_fen(answer.refund_amount) == command.amount_minor:
        return PaymentResult(PaymentOutcome.SUCCEEDED, answer.trade_no)
    # An answer without any of these fields is how Alipay says that it has no such refund.
    return _NOT_FOUND if not answer.refund_status and answer.refund_amount is None else _UNKNOWN


def _refusal(answer: _Answer, command: PaymentCommand) -> PaymentResult:
    if answer.code == _REFUSED and answer.sub_code not in _IN_DOUBT:
        return PaymentResult(PaymentOutcome.DECLINED, reason=_REASONS.get(answer.sub_code, _DECLINED))
    # Waiting for the customer, out of order, or not allowed to ask: none of these is a decision.
    log.warning("alipay.undecided", command_id=str(command.id), code=answer.code, sub_code=answer.sub_code)
    return _UNKNOWN


def _authorisation(command: PaymentCommand) -> str:
    if command.reference is None:
        raise AnswerNotVerified("nothing was authorised that this could be about")
    return command.reference


def _trade_of(command: PaymentCommand) -> dict[str, str]:
    if command.captured_by is None:
        raise AnswerNotVerified("there is no trade that this could be about")
    return {"out_trade_no": command.captured_by.hex}


async def _certain(command: PaymentCommand, ask: Ask) -> PaymentResult:
    try:
        return await ask(command)
    except (httpx.HTTPError, AnswerNotVerified, msgspec.ValidationError) as error:
        log.warning("alipay.no_answer", command_id=str(command.id), kind=command.kind, error=type(error).__name__)
        return _UNKNOWN
