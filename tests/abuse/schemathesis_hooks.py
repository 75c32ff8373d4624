"""What schemathesis needs to know beyond the OpenAPI documents; loaded by it (`SCHEMATHESIS_HOOKS`)."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def lines_of_json(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Write what was made up as one line, or several; a text is sent as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    rows = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
