from datetime import datetime

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from libs.common.http.fields import IsoTime, Latitude, Timestamp, check_coordinates


class Scan(BaseModel):
    model_config = ConfigDict(strict=True)

    scanned_at: Timestamp
    latitude: Latitude | None = None


class TestTimes:
    def test_are_times(self) -> None:
        noon = datetime.fromisoformat("2011-06-01T12:00:00+00:00")

        assert TypeAdapter(IsoTime).validate_python("2011-06-01T12:00:00Z") == noon
        assert TypeAdapter(Timestamp).validate_python("2011-06-01T12:00:00Z") == noon

    @pytest.mark.parametrize(
        "sent", ["1306886400", "1.5", "true", '"1306886400"', '"2011-06-01"', '"2011-06-01T12:00:00"', '"now"', "null"]
    )
    def test_are_nothing_else(self, sent: str) -> None:
        with pytest.raises(ValidationError):
            Scan.model_validate_json(f'{{"scanned_at": {sent}}}')

    @pytest.mark.parametrize("sent", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
    def test_are_times_in_utc_too(self, sent: str) -> None:
        with pytest.raises(ValidationError, match="out of range"):
            Scan.model_validate_json(f'{{"scanned_at": "{sent}"}}')

    def test_keep_their_offset(self) -> None:
        scan = Scan.model_validate_json('{"scanned_at": "2011-06-01T12:00:00+02:00"}')

        assert scan.scanned_at.isoformat() == "2011-06-01T12:00:00+02:00"


class TestCoordinates:
    @pytest.mark.parametrize("sent", ['"51.5"', "true", "90.1", "1e400", "[51.5]"])
    def test_are_numbers(self, sent: str) -> None:
        with pytest.raises(ValidationError):
            Scan.model_validate_json(f'{{"scanned_at": "2011-06-01T12:00:00Z", "latitude": {sent}}}')

    def test_come_together(self) -> None:
        check_coordinates(51.5, -0.1)
        check_coordinates(None, None)
        with pytest.raises(ValueError, match="belong together"):
            check_coordinates(51.5, None)
