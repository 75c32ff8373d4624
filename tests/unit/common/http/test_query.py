from datetime import date
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.common.http.query import IN_DIGITS, IsoDate


class TestIsoDate:
    def test_is_a_day(self) -> None:
        assert TypeAdapter(IsoDate).validate_python("2011-06-01") == date(2011, 6, 1)

    @pytest.mark.parametrize("text", ["0", "2011", "1306886400", "-1", "1e9", " 12 ", "20110601"])
    def test_is_no_number(self, text: str) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(IsoDate).validate_python(text)


class TestInDigits:
    @pytest.mark.parametrize(("text", "number"), [("10", 10), ("-3", -3), ("007", 7)])
    def test_is_a_whole_number(self, text: str, number: int) -> None:
        assert TypeAdapter(Annotated[int, IN_DIGITS]).validate_python(text) == number

    @pytest.mark.parametrize("text", ["1_0", "1.0", "+1", " 1", "1e3", "\u0661", ""])
    def test_is_nothing_else_that_python_reads_as_one(self, text: str) -> None:
        with pytest.raises(ValidationError, match="a whole number is needed"):
            TypeAdapter(Annotated[int, IN_DIGITS]).validate_python(text)
