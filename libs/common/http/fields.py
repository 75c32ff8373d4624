"""Fields that the requests of several services have, read and described alike by all of them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from libs.common.currencies import MINOR_DIGITS, check_currency

_NUMBER: Final = re.compile(r"[+-]?[\d._]+([eE][+-]?\d+)?")


def not_a_number(value: Any) -> Any:
    """
    Pass on what may be a date or a time in ISO 8601.

    As they are, pydantic's types read any number as seconds since 1970, so that 2024 would be an hour of that year.

    :raises ValueError: if it is a number, or the text of one.
    """
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        message = "a date in ISO 8601 is needed, not a number"
        raise ValueError(message)
    return value


def _within_the_calendar(value: datetime) -> datetime:
    try:
        value.astimezone(UTC)
    except OverflowError:
        message = "the time is out of range"
        raise ValueError(message) from None
    return value


# Not strict: behind a function of ours, a text of JSON is a text like any other.
IsoTime = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(not_a_number)]
# One that there is in UTC, too.
Timestamp = Annotated[IsoTime, AfterValidator(_within_the_calendar)]

# A text without control characters and with something on it, whatever blanks are around that. U+0085, another end of a
# line, is a blank to some readers of such patterns and none to others.
ONE_LINE: Final = r"^[^\x00-\x1f\x7f\x85]*[^\x00-\x1f\x7f\x85\s][^\x00-\x1f\x7f\x85]*$"
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE)]

Currency = Annotated[
    str,
    Field(description="ISO 4217.", examples=["GBP"], json_schema_extra={"enum": sorted(MINOR_DIGITS)}),
    AfterValidator(check_currency),
]

Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False, strict=True)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False, strict=True)]

# For `json_schema_extra` of a model with both, neither of which is needed.
BOTH_COORDINATES_OR_NONE: Final[dict[str, Any]] = {
    "anyOf": [
        {
            "properties": {name: {"type": kind} for name in ("latitude", "longitude")},
            **({"required": ["latitude", "longitude"]} if kind == "number" else {}),
        }
        for kind in ("number", "null")
    ]
}


def check_coordinates(latitude: float | None, longitude: float | None) -> None:
    """
    Check that a place has both coordinates or none.

    :raises ValueError: if it has one of them.
    """
    if (latitude is None) != (longitude is None):
        message = "latitude and longitude belong together"
        raise ValueError(message)
