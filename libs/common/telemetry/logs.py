"""Structured logs: one JSON line for each event, with the ids to find what belongs to it and no personal data."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from libs.common.telemetry.tracing import current_correlation_id, current_trace_id

REDACTED: Final = "[redacted]"

_SENSITIVE_KEYS: Final = frozenset(
    {
        "authorization",
        "api_key",
        "apikey",
        "x_api_key",
        "secret",
        "password",
        "token",
        "pepper",
        "cookie",
        "database_url",
        "email",
        "name",
        "first_name",
        "last_name",
        "full_name",
        "address",
        "street",
        "phone",
    }
)
_SENSITIVE_ENDINGS: Final = (
    "_secret",
    "_password",
    "_token",
    "_api_key",
    "_email",
    "_phone",
    "_address",
)
_DEPTH_MAX: Final = 6

# Key material and row values reach a log by way of exception texts, which no list of field names can catch.
_LEAKS_IN_TEXT: Final = (
    (re.compile(r"qk_[a-z0-9-]+_[0-9A-Za-z]+_[0-9A-Za-z_]+"), "qk_[redacted]"),
    (re.compile(r"(postgresql(?:\+asyncpg)?://[^:/@\s]+):[^@\s]+@"), r"\1:[redacted]@"),
    (re.compile(r"(DETAIL:\s+)[^\n]*"), r"\1[redacted]"),
    (re.compile(r"(\[parameters: )[^\n]*"), r"\1[redacted]]"),
    (re.compile(r"input_value=.*?, input_type="), "input_value=[redacted], input_type="),
)

Logger = structlog.stdlib.BoundLogger


def configure_logging(
    service: str,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["json", "console"] = "json",  # noqa: A002 - the settings call it so
) -> None:
    """Send every log of this process, our own and the libraries', to stderr in one form."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _identify(service),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    render: Processor = render_json if format == "json" else structlog.dev.ConsoleRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "asyncio", "httpx", "httpcore", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str | None = None) -> Logger:
    """Return a logger: `log.info("order.cancelled", order_id=…)`, an event name and its facts."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Mask what may be secret or personal, by the name of its key at any depth and by its form in texts."""
    return _redact_mapping(event, 0)


def render_json(_logger: Any, _method: str, event: EventDict) -> str:
    """Render one line of JSON; what JSON cannot say is said by its type, so that logging never fails."""
    try:
        return msgspec.json.encode(event, enc_hook=_unencodable, order="deterministic").decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return msgspec.json.encode({key: str(value) for key, value in event.items()}).decode()


def _identify(service: str) -> Processor:
    def identify(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        correlation_id = current_correlation_id()
        if correlation_id is not None:
            event.setdefault("correlation_id", correlation_id)
        trace_id = current_trace_id()
        if trace_id is not None:
            event.setdefault("trace_id", trace_id)
        return event

    return identify


def _redact_mapping(mapping: Mapping[Any, Any], depth: int) -> MutableMapping[str, Any]:
    # structlog's own entries begin with an underscore and are taken out by its formatter.
    return {
        str(key): value
        if str(key).startswith("_")
        else REDACTED
        if _is_sensitive(str(key))
        else _redact_value(value, depth)
        for key, value in mapping.items()
    }


def _redact_value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _redact_text(value)
    if depth >= _DEPTH_MAX:
        return value if isinstance(value, (int, float, bool, type(None))) else REDACTED
    if isinstance(value, Mapping):
        return _redact_mapping(value, depth + 1)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redact_value(item, depth + 1) for item in value]
    if isinstance(value, BaseException):
        return _redact_text(f"{type(value).__name__}: {value}")
    return value


def _redact_text(text: str) -> str:
    for pattern, replacement in _LEAKS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _is_sensitive(key: str) -> bool:
    normalised = key.lower().replace("-", "_")
    return normalised in _SENSITIVE_KEYS or normalised.endswith(_SENSITIVE_ENDINGS)


def _unencodable(value: Any) -> str:
    return f"<{type(value).__name__}>" if not isinstance(value, Exception) else str(value)
