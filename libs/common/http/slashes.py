"""
Addresses whose parts hold a slash: the SKU `AC/DC-1` is read under `/v1/stock/AC%2FDC-1`.

Servers decode an address before it is matched, so that a slash within a part looks like the end of the part. Here it
stands as a character that no text of ours may hold, until the part has been told from the others.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

# Of the private use area: not printable, so that it is no part of a code or an id.
_SLASH_IN_PART: Final = "\ue02f"
_ENCODED: Final = quote(_SLASH_IN_PART).encode("ascii")
_ENCODED_SLASH: Final = re.compile(rb"%2[fF]")


class EncodedSlashes:
    """Keeps the slashes within the parts of an address apart from those between them."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before whatever looks at the path."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and b"%2" in (raw := scope.get("raw_path") or b""):
            path = unquote(_ENCODED_SLASH.sub(_ENCODED, raw).decode("latin-1"))
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


class PartConvertor(StringConvertor):
    """Gives a part of an address back the slashes that were in it."""

    def convert(self, value: str) -> str:
        """Return what the caller meant."""
        return value.replace(_SLASH_IN_PART, "/")


# Before any route is made: each compiles its path with the convertors that there are.
register_url_convertor("str", PartConvertor())
