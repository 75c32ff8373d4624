"""Text that JSON can carry and PostgreSQL cannot: NUL, and halves of surrogate pairs."""

import json
import re
from typing import Any, Final, NoReturn

from libs.common.errors import Invalid
from libs.common.http.problems import MalformedJson

# A search of the raw bytes costs about a microsecond; only what it finds is parsed and looked at.
_SUSPICIOUS: Final = re.compile(rb"\x00|\\u0000|\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|NaN|Infinity")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class UnstorableText(Invalid):
    """A text holds NUL or half a surrogate pair, which no database here can store."""

    code = "unstorable-text"


class _NotANumber(Exception):
    """JSON has no NaN and no Infinity, though Python's parser reads them."""


def check_json_text(body: bytes) -> None:
    """
    Refuse a JSON body that holds text or numbers which pass the parser and fail later.

    A body that is not JSON at all passes: the parser that reads it for real reports it with its position.

    :raises UnstorableText: naming the first such field.
    :raises MalformedJson: if it holds raw NUL bytes (as UTF-16 does), NaN or Infinity.
    """
    if not is_suspicious(body):
        return
    if b"\x00" in body:
        raise MalformedJson("The body is not JSON in UTF-8: it holds NUL bytes.")
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except _NotANumber as error:
        raise MalformedJson(f"The body is not JSON: {error} is not a number.") from None
    except (ValueError, RecursionError):
        return
    pointer = _pointer_to_unstorable(content)
    if pointer is not None:
        raise UnstorableText("The text holds a NUL character or half a surrogate pair.", field=pointer or "/")


def is_suspicious(body: bytes) -> bool:
    """Answer whether `check_json_text` would have to look closely; many JSON texts can be asked about at once."""
    return _SUSPICIOUS.search(body) is not None


def is_storable(text: str) -> bool:
    """Answer whether PostgreSQL can hold `text`."""
    return _UNSTORABLE.search(text) is None


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumber(name)


def _pointer_to_unstorable(content: Any) -> str | None:
    # A list of work rather than recursion: the depth of the input is the caller's choice.
    pending: list[tuple[str, Any]] = [("", content)]
    while pending:
        pointer, value = pending.pop()
        if isinstance(value, str):
            if not is_storable(value):
                return pointer
        elif isinstance(value, list):
            pending.extend((f"{pointer}/{index}", item) for index, item in enumerate(value))
        elif isinstance(value, dict):
            for key, item in value.items():
                if not is_storable(key):
                    return f"{pointer}/{key.encode('ascii', 'backslashreplace').decode()}"
                pending.append((f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", item))
    return None
