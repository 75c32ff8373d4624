"""Types of query parameters that mean only what they say."""

import re
from datetime import date
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from libs.common.http.fields import not_a_number

_DIGITS: Final = re.compile(r"-?[0-9]+")


def _in_digits(value: Any) -> Any:
    if isinstance(value, str) and _DIGITS.fullmatch(value) is None:
        message = "a whole number is needed"
        raise ValueError(message)
    return value


# Behind the bounds of an `int`, which by itself also reads 1_0 as 10, 1.0, +1 and blanks around it.
IN_DIGITS: Final = BeforeValidator(_in_digits)
IsoDate = Annotated[date, Field(strict=False), BeforeValidator(not_a_number)]
