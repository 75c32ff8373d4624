"""Alipay's RSA2: SHA256 with RSA (PKCS #1 v1.5) over what is said, in Base64: https://opendocs.alipay.com/common/02kf5q."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_UNSIGNED: Final = frozenset({"sign", "sign_type"})


class NotAnRsaKey(ValueError):
    """The text is no RSA key; it is never shown."""


class AnswerNotVerified(Exception):
    """The answer is not signed by Alipay, or is none at all; whatever happened is not known."""


class Signer:
    """Signs what this shop says."""

    def __init__(self, private_key: str) -> None:
        """
        Take a private key in PEM, or as Alipay's key tool writes it: the Base64 of PKCS #8 without header lines.

        :raises NotAnRsaKey: if it is neither.
        """
        try:
            key = (
                serialization.load_pem_private_key(private_key.encode(), password=None)
                if private_key.lstrip().startswith("-----")
                else serialization.load_der_private_key(base64.b64decode(private_key, validate=False), password=None)
            )
        except (ValueError, TypeError):
            raise NotAnRsaKey("The private key cannot be read.") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise NotAnRsaKey("The private key is not one of RSA.")
        self._key = key

    def sign(self, text: str) -> str:
        """Return the signature of a text."""
        return base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


class Verifier:
    """Knows what Alipay has said; while its key is changed, by either of two."""

    def __init__(self, public_keys: Sequence[str]) -> None:
        """
        Take public keys in PEM, or as Alipay shows them: the Base64 without header lines.

        :raises NotAnRsaKey: if one of them is neither.
        """
        self._keys = [_public_key(one) for one in public_keys]

    def is_signed(self, text: bytes, signature: str) -> bool:
        """Tell whether Alipay signed a text."""
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        return any(_verifies(key, raw, text) for key in self._keys)


def text_to_sign(parameters: Mapping[str, str], *, leaving_out: frozenset[str] = frozenset({"sign"})) -> str:
    """Return what a signature covers: the parameters with a value, sorted by name, unescaped."""
    return "&".join(
        f"{name}={value}" for name, value in sorted(parameters.items()) if value and name not in leaving_out
    )


def text_of_notice(parameters: Mapping[str, str]) -> str:
    """Return what the signature of a notice covers: also not the type of the signature."""
    return text_to_sign(parameters, leaving_out=_UNSIGNED)


def read_answer(body: str, node: str, verifier: Verifier) -> dict[str, Any]:
    """
    Return the node of an answer. What is signed is its text as it was sent, to the byte.

    :raises AnswerNotVerified: if it is not there or not signed by Alipay.
    """
    start = body.find(f'"{node}"')
    if start < 0:
        raise AnswerNotVerified("the answer has another name")
    try:
        begin = body.index("{", start)
        found, end = json.JSONDecoder().raw_decode(body, begin)
        signature = json.loads(body)["sign"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AnswerNotVerified("the answer is no signed JSON") from None
    if not isinstance(signature, str) or not verifier.is_signed(body[begin:end].encode(), signature):
        raise AnswerNotVerified("the signature is wrong")
    return dict(found)


def _public_key(text: str) -> rsa.RSAPublicKey:
    try:
        key = (
            serialization.load_pem_public_key(text.encode())
            if text.lstrip().startswith("-----")
            else serialization.load_der_public_key(base64.b64decode(text, validate=False))
        )
    except (ValueError, TypeError):
        raise NotAnRsaKey("A public key cannot be read.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotAnRsaKey("A public key is not one of RSA.")
    return key


def _verifies(key: rsa.RSAPublicKey, signature: bytes, text: bytes) -> bool:
    try:
        key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
