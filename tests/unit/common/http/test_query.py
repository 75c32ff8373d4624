from datetime import date

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.common.http.query import IsoDate


class TestIsoDate:
    def test_is_a_day(self) -> None:
        assert TypeAdapter(IsoDate).validate_python("2011-06-01") == date(2011, 6, 1)

    @pytest.mark.parametrize("text", ["0", "2011", "1306886400", "-1", "1e9", " 12 ", "20110601"])
    def test_is_no_number(self, text: str) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(IsoDate).validate_python(text)
