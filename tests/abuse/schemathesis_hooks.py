"""What schemathesis needs to know beyond the OpenAPI documents; loaded by it (`SCHEMATHESIS_HOOKS`)."""

import json
import re
import time
from collections import Counter
from collections.abc import MutableMapping
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import requests
import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response
from schemathesis.generation.meta import TestPhase

from tests.abuse.completions import KnownNames, completed_addresses, completed_body
from tests.abuse.refusals import why

_KEY: Final = "Idempotency-Key"
# Right by their form, and right of one list, one stream or one revision alone.
_OF_ONE_ANSWER: Final = ("If-None-Match", "Last-Event-ID")
_numbers: Final = count(1)
_known: Final = KnownNames.of_this_run()
_turns: Final = Counter[str]()
# `/v1/orders/{order_id}`: what follows is something of it.
_RESOURCE_PARTS: Final = 4
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
    """
    Complete every second request of an operation, where there is a stage.

    Each right one has a key of its own: most that are made up are the same, and name another write.
    """
    is_right = _is_right(case)
    if is_right and _KEY in case.headers:
        case.headers[_KEY] = f"schemathesis-{next(_numbers)}"
    turn = f"{_route(case)} {is_right}"
    _turns[turn] += 1
    if not _known or not _turns[turn] % 2:
        return
    if case.meta is not None and case.meta.phase.name is not TestPhase.STATEFUL:
        # There, what was made in the step before is named. What is wrong is wrong of something that exists, too.
        completed_addresses(_route(case), case.path_parameters, _known)
    if is_right:
        _complete(case)


@schemathesis.hook
def after_call(_context: HookContext, case: Case[Any], response: Response) -> None:
    """Remember what was made, and let what is asked next be asked of it."""
    if response.status_code != HTTPStatus.CREATED:
        return
    made = response.json().get("id")
    kind = re.escape(case.path.rpartition("/")[2])
    for path in case.operation.schema:
        if made and (name := re.search(rf"/{kind}/{{(\w+)}}$", path)):
            _known.learn(name[1], made)


@schemathesis.check
def allowed_is_accepted(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Take what the schema allows, or refuse it for what is, or for a reason that is listed in `refusals`."""
    if not _is_right(case) or response.status_code not in {400, 415, 422}:
        return
    problem = response.json()
    reasons = why(_route(case), problem)
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


def _complete(case: Case[Any]) -> None:
    for header in _OF_ONE_ANSWER:
        case.headers.pop(header, None)
    case.query.pop("cursor", None)
    completed_addresses(_route(case), case.query, _known)
    if "If-Match" in case.headers:
        tag = _entity_tag(case)
        if tag is None:
            del case.headers["If-Match"]
        else:
            case.headers["If-Match"] = tag
    if isinstance(case.body, dict | list):
        case.body = completed_body(_route(case), case.body, _known)


def _entity_tag(case: Case[Any]) -> str | None:
    """Return the tag of what the request changes, as it is now; None if it has none."""
    address = "/".join(case.formatted_path.split("/")[:_RESOURCE_PARTS])
    with requests.Session() as session:
        session.trust_env = False
        found = session.get(
            f"{case.operation.base_url}{address}",
            headers={name: case.headers[name] for name in ("Authorization",) if name in case.headers},
            timeout=_ANSWER_SECONDS_MAX,
        )
    return found.headers.get("ETag")


def _route(case: Case[Any]) -> str:
    return f"{case.method} {case.operation.path}"


def _is_right(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
