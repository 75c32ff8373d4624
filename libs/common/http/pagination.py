"""Keyset pages: stable under inserts, as cheap on the thousandth page as on the first."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, TypeVar
from zlib import crc32

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from libs.common.errors import Invalid
from libs.common.http.query import IN_DIGITS

PAGE_LIMIT_DEFAULT: Final = 50
PAGE_LIMIT_MAX: Final = 200
_CURSOR_LENGTH_MAX: Final = 1024
_MARK_BYTES: Final = 4

# The path of the list that is being served.
_list: ContextVar[str] = ContextVar("list", default="")

Item = TypeVar("Item")
Row = TypeVar("Row")
Key = TypeVar("Key")

# Used with a default: `limit: PageLimit = PAGE_LIMIT_DEFAULT`, `cursor: PageCursor = None`.
PageLimit = Annotated[
    int, Query(alias="limit", ge=1, le=PAGE_LIMIT_MAX, description="How many items to return."), IN_DIGITS
]
PageCursor = Annotated[
    str | None,
    Query(
        alias="cursor",
        min_length=1,
        max_length=_CURSOR_LENGTH_MAX,
        description="`next_cursor` of the page before; absent for the first page.",
    ),
]


class Page(BaseModel, Generic[Item]):
    """One page of a list; `next_cursor` is absent on the last."""

    items: list[Item]
    next_cursor: str | None = Field(default=None, description="Pass as `cursor` to get the next page.")


@contextmanager
def serving_list(path: str) -> Iterator[None]:
    """Let cursors be of the list at `path` meanwhile."""
    token = _list.set(path)
    try:
        yield
    finally:
        _list.reset(token)


class Cursor:
    """
    The sort key of the last item seen, opaque to callers, behind a mark of the list that it is of.

    It is not signed: it grants nothing that a caller could not ask for, and every query filters by what that
    caller may see, whatever the cursor says. The mark tells of a mistake: the place in another list, whose keys are
    of the same types, would be answered with a page of no meaning.
    """

    @staticmethod
    def encode(*key: Any) -> str:
        """Encode the values of a sort key: numbers, texts, UUIDs, times."""
        return urlsafe_b64encode(_mark() + msgspec.json.encode(key)).rstrip(b"=").decode()

    @staticmethod
    def decode(cursor: str, key_type: type[Key]) -> Key:
        """
        Decode a cursor into `key_type`, for example `tuple[datetime, UUID]`.

        :raises Invalid: if it was not made for such a list.
        """
        try:
            marked = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            mark, content = marked[:_MARK_BYTES], marked[_MARK_BYTES:]
            if mark != _mark() or b"\\u0000" in content:
                raise Invalid("The cursor is not one of this list.", field="cursor")
            key = msgspec.json.decode(content, type=key_type)
            for part in key if isinstance(key, tuple) else ():
                if isinstance(part, datetime):
                    part.astimezone(UTC)
        except (Base64Error, ValueError, OverflowError) as error:
            # msgspec's errors are ValueErrors, as are those of text that is not ASCII; a time may not exist in UTC.
            raise Invalid("The cursor is not one of this list.", field="cursor") from error
        return key


def _mark() -> bytes:
    return crc32(_list.get().encode("utf-8", "surrogatepass")).to_bytes(_MARK_BYTES)


def page_of(
    rows: Sequence[Row],
    *,
    limit: int,
    key: Callable[[Row], tuple[Any, ...]],
    item: Callable[[Row], Item],
) -> Page[Item]:
    """
    Shape `rows` into a page. Query `limit + 1` rows: the extra one says whether there is a next page.

    `key` gives the sort key of a row, `item` the model that is returned for it.
    """
    shown = rows[:limit]
    next_cursor = Cursor.encode(*key(shown[-1])) if len(rows) > limit and shown else None
    return Page(items=[item(row) for row in shown], next_cursor=next_cursor)
