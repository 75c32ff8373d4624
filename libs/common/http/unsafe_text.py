"""What JSON can carry and nobody means: NUL and halves of surrogate pairs in texts, and a key twice in one object."""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from libs.common.errors import Invalid
from libs.common.http.problems import MalformedJson

# A search of the raw bytes costs about a microsecond; only what it finds is parsed and looked at.
_SUSPICIOUS: Final = re.compile(rb"\x00|\\u0000|\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|NaN|Infinity")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class UnstorableText(Invalid):
    """A text holds NUL or half a surrogate pair, which no database here can store."""

    code = "unstorable-text"


class RepeatedKey(Invalid):
    """An object names a key twice; which of the values is meant, nobody can know."""

    code = "repeated-key"


class _NotANumber(Exception):
    """JSON has no NaN and no Infinity, though Python's parser reads them."""


class _Repeating(dict[str, Any]):
    """An object that names `key` twice."""

    key: str


def check_json_text(body: bytes) -> None:
    """
    Refuse a JSON body that holds text, numbers or keys which pass the parser and fail, or mislead, later.

    A body that is not JSON at all passes: the parser that reads it for real reports it with its position.

    :raises UnstorableText: naming the first such field.
    :raises RepeatedKey: naming the first such field.
    :raises MalformedJson: if it holds raw NUL bytes (as UTF-16 does), NaN or Infinity.
    """
    is_unsafe = is_suspicious(body)
    if not is_unsafe and not may_repeat_keys(body):
        return
    if b"\x00" in body:
        raise MalformedJson("The body is not JSON in UTF-8: it holds NUL bytes.")
    try:
        content = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except _NotANumber as error:
        raise MalformedJson(f"The body is not JSON: {error} is not a number.") from None
    except (ValueError, RecursionError):
        return
    pointer = _pointer_to_unstorable(content) if is_unsafe else None
    if pointer is not None:
        raise UnstorableText("The text holds a NUL character or half a surrogate pair.", field=pointer or "/")
    pointer = _pointer_to_repeated(content)
    if pointer is not None:
        raise RepeatedKey("The key is given twice in one object.", field=pointer)


def is_suspicious(body: bytes) -> bool:
    """Answer whether `check_json_text` would have to look closely; many JSON texts can be asked about at once."""
    return _SUSPICIOUS.search(body) is not None


def may_repeat_keys(body: bytes, *, is_lines: bool = False) -> bool:
    """
    Answer whether an object of a JSON text, or of many lines of it, may name a key twice.

    Whoever reads it keeps one value of a key. Written again, it then has fewer quotation marks than before; only one
    that was escaped as a number could make up for them.
    """
    if b"\\u0022" in body:
        return True
    try:
        written = _write_lines(_read_lines(body)) if is_lines else _write(_read(body))
    except (ValueError, RecursionError):
        # It is not JSON, or some that only the other parser reads.
        return True
    return body.count(b'"') != written.count(b'"')


def is_storable(text: str) -> bool:
    """Answer whether PostgreSQL can hold `text`."""
    return _UNSTORABLE.search(text) is None


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumber(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) == len(pairs):
        return content
    repeating = _Repeating(content)
    seen: set[str] = set()
    repeating.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return repeating


def _pointer_to_unstorable(content: Any) -> str | None:
    def unstorable(value: Any) -> str | None:
        if isinstance(value, str):
            return None if is_storable(value) else ""
        if isinstance(value, dict):
            return next((f"/{_escaped(key)}" for key in value if not is_storable(key)), None)
        return None

    return _pointer_to_first(content, unstorable)


def _pointer_to_repeated(content: Any) -> str | None:
    return _pointer_to_first(
        content, lambda value: f"/{_escaped(value.key)}" if isinstance(value, _Repeating) else None
    )


def _pointer_to_first(content: Any, fault_of: Callable[[Any], str | None]) -> str | None:
    # A list of work rather than recursion: the depth of the input is the caller's choice.
    pending: list[tuple[str, Any]] = [("", content)]
    while pending:
        pointer, value = pending.pop()
        fault = fault_of(value)
        if fault is not None:
            return pointer + fault
        if isinstance(value, list):
            pending.extend((f"{pointer}/{index}", item) for index, item in enumerate(value))
        elif isinstance(value, dict):
            pending.extend((f"{pointer}/{_escaped(key)}", item) for key, item in value.items())
    return None


def _escaped(key: str) -> str:
    if not is_storable(key):
        return key.encode("ascii", "backslashreplace").decode()
    return key.replace("~", "~0").replace("/", "~1")


_read: Final = msgspec.json.Decoder().decode
_read_lines: Final = msgspec.json.Decoder().decode_lines
_write: Final = msgspec.json.Encoder().encode
_write_lines: Final = msgspec.json.Encoder().encode_lines
