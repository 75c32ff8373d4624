"""
Versions of a resource as entity tags (RFC 9110, section 8.8.3): nobody overwrites what they have not seen.

Whatever is a list of entity tags is read; a tag that nobody here handed out matches no version.
"""

import re
from collections.abc import Container
from typing import Annotated, Final

from fastapi import Header
from pydantic import AfterValidator, WithJsonSchema

_TAG: Final = r'(W/)?"[!#-~]*"'
_TAGS: Final = rf"^\s*(\*|{_TAG}(\s*,\s*{_TAG})*)\s*$"
_TAGS_PATTERN: Final = re.compile(_TAGS)
# Versions are what is handed out as tags, and they fit a bigint.
_VERSION: Final = re.compile(r'(W/)?"([0-9]{1,18})"')
_ANY: Final = range(1, 2**63)


def _checked(tags: str | None) -> str | None:
    if tags is not None and _TAGS_PATTERN.fullmatch(tags) is None:
        message = 'entity tags look like "3", or "3", "4"'
        raise ValueError(message)
    return tags


# A header is a text, or not there; it is never null.
_DESCRIBED: Final = WithJsonSchema({"type": "string", "pattern": _TAGS, "examples": ['"3"']})

# Used with a default: `if_match: IfMatch = None`.
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Change only this version: an ETag, several, or * for any that there is.",
    ),
    AfterValidator(_checked),
    _DESCRIBED,
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="Answer 304 without a body if this is still the version.",
    ),
    AfterValidator(_checked),
    _DESCRIBED,
]


def entity_tag(version: int) -> str:
    """Return the ETag of a version."""
    return f'"{version}"'


def matches_any(tags: str) -> bool:
    """Tell whether a list of entity tags is `*`."""
    return tags.strip() == "*"


def versions_of(if_match: str) -> Container[int]:
    """Return the versions, from 1, that may be changed; a weak tag is none of them."""
    if matches_any(if_match):
        return _ANY
    return {int(version) for weak, version in _VERSION.findall(if_match) if not weak}


def is_current(if_none_match: str | None, version: int) -> bool:
    """Tell whether the caller has this version already; reads compare weakly, as a cache may have weakened the tag."""
    if if_none_match is None:
        return False
    return matches_any(if_none_match) or any(int(known) == version for _, known in _VERSION.findall(if_none_match))
