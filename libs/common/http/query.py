"""Types of query parameters that mean only what they say."""

import re
from datetime import date
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator

_NUMBER: Final = re.compile(r"[+-]?[\d._]+([eE][+-]?\d+)?")


def _not_a_number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        message = "a date in ISO 8601 is needed, not a number"
        raise ValueError(message)
    return value


# As they are, these read any number as seconds since 1970, so that `from=2024` would mean an hour of that year.
IsoDate = Annotated[date, BeforeValidator(_not_a_number)]
IsoTime = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]
