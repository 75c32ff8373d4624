"""What schemathesis needs to know beyond the OpenAPI documents; loaded by it (`SCHEMATHESIS_HOOKS`)."""

import json
import time
from collections.abc import MutableMapping
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import requests
import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response

from tests.abuse.refusals import why

_KEY: Final = "Idempotency-Key"
_numbers: Final = count(1)
_TRIES_MAX: Final = 30
_RETRY_SECONDS: Final = 1.0
_ANSWER_SECONDS_MAX: Final = 120.0


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def lines_of_json(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Write what was made up as one line, or several; a text is sent as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    rows = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: MutableMapping[str, Any]) -> None:
    """Give each right request a key of its own: most that are made up are the same, and name another write."""
    if _is_right(case) and _KEY in case.headers:
        case.headers[_KEY] = f"schemathesis-{next(_numbers)}"


@schemathesis.check
def allowed_is_accepted(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Take what the schema allows, or refuse it for what is, or for a reason that is listed in `refusals`."""
    if not _is_right(case) or response.status_code not in {400, 415, 422}:
        return
    problem = response.json()
    reasons = why(f"{case.method} {case.operation.path}", problem)
    if None in reasons:
        unexpected = [
            problem["errors"][at] for at, reason in enumerate(reasons) if reason is None and "errors" in problem
        ]
        message = f"what the schema allows is refused: {unexpected or problem}"
        raise AssertionError(message)


@schemathesis.check
def unavailable_passes(_context: CheckContext, response: Response, _case: Case[Any]) -> None:
    """Take a 503 of a busy machine, if whoever asks again is told something else in the end."""
    if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
        return
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(_TRIES_MAX):
            time.sleep(_RETRY_SECONDS)
            with session.send(response.request, stream=True, timeout=_ANSWER_SECONDS_MAX) as again:
                if again.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                    return
    message = f"503, however often it is asked: {response.text[:500]}"
    raise AssertionError(message)


def _is_right(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
