"""A double of Alipay's gateway: signed forms in, signed JSON out."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import Response

from services.orders.clients.alipay_signatures import Signer, Verifier, text_of_notice, text_to_sign
from tests.integration.orders.providers.double import Double, running

APP_ID = "2021000000000001"
WALLET = "285012345678901234"
# The code that the customer shows next: each is for one payment.
NEXT_CODE = "285012345678905678"
POOR = "280000000000000000"
NODE = "{}_response"


class Refused(Exception):
    def __init__(self, sub_code: str, code: str = "40004") -> None:
        self.answer = {"code": code, "msg": "Business Failed", "sub_code": sub_code, "sub_msg": "不行"}


@cache
def key_pair(name: str) -> tuple[str, str]:  # noqa: ARG001 - each has its own
    """Return a private and a public key as Alipay's tools write them."""
    key = rsa.generate_private_key(65_537, 2048)
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(private).decode(), base64.b64encode(public).decode()


@cache
def signer(name: str) -> Signer:
    return Signer(key_pair(name)[0])


@dataclass
class AlipayDouble(Double):
    """What it has frozen, unfrozen, paid and refunded, by our numbers; `signs_as` is whose key it signs with."""

    frozen: dict[str, dict[str, Any]] = field(default_factory=dict)
    unfrozen: dict[str, dict[str, Any]] = field(default_factory=dict)
    trades: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    # What is still frozen, by the authorisation's number.
    rests: dict[str, Decimal] = field(default_factory=dict)
    notify_urls: set[str] = field(default_factory=set)
    signs_as: str = "alipay"
    # Alipay may ask the customer for a password, and freezes once it is given.
    is_confirmed_by_customer: bool = True
    _used: dict[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["AlipayDouble"]:
        double = cls()
        async with running(double, double.handle):
            yield double

    async def handle(self, request: Request) -> Response:
        parameters = dict(parse_qsl((await request.body()).decode(), strict_parsing=True))
        method = parameters["method"]

        async def do() -> Response:
            return self._signed(method, self._checked(parameters))

        return await self.answer(method, do)

    def notice(self, **fields: str) -> bytes:
        """Return a notice as Alipay posts it."""
        fields = {"app_id": APP_ID, "charset": "utf-8", "version": "1.0", "sign_type": "RSA2"} | fields
        fields["sign"] = self._signer().sign(text_of_notice(fields))
        return urlencode(fields).encode()

    def _signed(self, method: str, answer: dict[str, Any]) -> Response:
        # As it is signed, with the spaces and escapes that happen to be in it.
        text = json.dumps(answer, ensure_ascii=True)
        node = NODE.format(method.replace(".", "_"))
        body = f'{{"{node}":{text},"sign":{json.dumps(self._signer().sign(text))}}}'
        return Response(body, media_type="text/html;charset=utf-8")

    def _signer(self) -> Signer:
        return signer(self.signs_as)

    def _checked(self, parameters: dict[str, str]) -> dict[str, Any]:
        verifier = Verifier([key_pair("shop")[1]])
        if not verifier.is_signed(text_to_sign(parameters).encode(), parameters["sign"]):
            return {"code": "40002", "msg": "Invalid Arguments", "sub_code": "isv.invalid-signature"}
        assert (parameters["app_id"], parameters["sign_type"], parameters["version"]) == (APP_ID, "RSA2", "1.0")
        assert parameters["timestamp"].startswith("2026-03-02 17:"), "Beijing's time"
        self.notify_urls.add(parameters.get("notify_url", ""))
        try:
            answer = self._do(parameters["method"], json.loads(parameters["biz_content"]))
        except Refused as refused:
            return refused.answer
        return {"code": "10000", "msg": "Success", **answer}

    def _do(self, method: str, asked: dict[str, Any]) -> dict[str, Any]:
        match method.removeprefix("alipay."):
            case "fund.auth.order.freeze":
                return self._freeze(asked)
            case "fund.auth.order.unfreeze":
                return self._unfreeze(asked)
            case "trade.pay":
                return self._pay(asked)
            case "trade.refund":
                return self._refund(asked)
            case _:
                return self._query(method, asked)

    def _query(self, method: str, asked: dict[str, Any]) -> dict[str, Any]:
        match method.removeprefix("alipay."):
            case "fund.auth.operation.detail.query":
                if not self.is_confirmed_by_customer and asked["out_request_no"] == list(self.frozen)[-1]:
                    return {**self.frozen[asked["out_request_no"]], "status": "INIT"}
                return _known({**self.frozen, **self.unfrozen}, asked["out_request_no"], "AUTH_OPERATION_NOT_EXIST")
            case "trade.query":
                return _known(self.trades, asked["out_trade_no"], "ACQ.TRADE_NOT_EXIST")
            case "trade.fastpay.refund.query":
                _known(self.trades, asked["out_trade_no"], "ACQ.TRADE_NOT_EXIST")
                return self.refunds.get(asked["out_request_no"], {})
            case _:
                raise Refused("isv.invalid-method", "40002")

    def _freeze(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["auth_code"] == POOR:
            raise Refused("USER_BALANCE_NOT_ENOUGH")
        number = asked["out_request_no"]
        is_used = self._used.get(asked["auth_code"], number) != number
        if asked["auth_code"] not in {WALLET, NEXT_CODE} or is_used:
            raise Refused("PAYMENT_AUTH_CODE_INVALID")
        self._used[asked["auth_code"]] = number
        if number not in self.frozen:
            auth_no = f"20260302{len(self.frozen):04}"
            self.frozen[number] = {
                "auth_no": auth_no,
                "out_order_no": asked["out_order_no"],
                "out_request_no": number,
                "amount": asked["amount"],
                "status": "SUCCESS",
                "operation_type": "FREEZE",
            }
            self.rests[auth_no] = Decimal(asked["amount"])
        if not self.is_confirmed_by_customer:
            raise Refused("ORDER_SUCCESS_PAY_INPROCESS", "10003")
        return self.frozen[number]

    def _unfreeze(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["out_request_no"] not in self.unfrozen:
            self._take(asked["auth_no"], asked["amount"], "UNFREEZE_AMOUNT_NOT_ENOUGH")
        answer = {**asked, "status": "SUCCESS", "operation_type": "UNFREEZE"}
        return self.unfrozen.setdefault(asked["out_request_no"], answer)

    def _take(self, auth_no: str, amount: str, otherwise: str) -> None:
        """Leave less frozen, never less than nothing."""
        rest = self.rests[auth_no] - Decimal(amount)
        if rest < 0:
            raise Refused(otherwise)
        self.rests[auth_no] = rest

    def _pay(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["out_trade_no"] not in self.trades:
            self._take(asked["auth_no"], asked["total_amount"], "AUTH_AMOUNT_NOT_ENOUGH")
        trade = {
            "auth_no": asked["auth_no"],
            "out_trade_no": asked["out_trade_no"],
            "trade_no": f"2026030222{len(self.trades):04}",
            "total_amount": asked["total_amount"],
            "trade_status": "TRADE_SUCCESS",
            "mode": asked["auth_confirm_mode"],
        }
        return self.trades.setdefault(asked["out_trade_no"], trade)

    def _refund(self, asked: dict[str, Any]) -> dict[str, Any]:
        trade = _known(self.trades, asked["out_trade_no"], "ACQ.TRADE_NOT_EXIST")
        number = asked["out_request_no"]
        others = [one for other, one in self.refunds.items() if other != number]
        refunded = sum(Decimal(one["refund_amount"]) for one in others if one["trade_no"] == trade["trade_no"])
        if refunded + Decimal(asked["refund_amount"]) > Decimal(trade["total_amount"]):
            raise Refused("ACQ.REASON_TRADE_REFUND_FEE_ERR")
        fund_change = "N" if number in self.refunds else "Y"
        self.refunds[number] = {
            "out_trade_no": trade["out_trade_no"],
            "trade_no": trade["trade_no"],
            "refund_amount": asked["refund_amount"],
            "refund_status": "REFUND_SUCCESS",
        }
        return {"out_trade_no": trade["out_trade_no"], "trade_no": trade["trade_no"], "fund_change": fund_change}


def _known(found: dict[str, dict[str, Any]], number: str, otherwise: str) -> dict[str, Any]:
    if number not in found:
        raise Refused(otherwise)
    return found[number]
