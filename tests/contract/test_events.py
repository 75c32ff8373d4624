"""What was ever published must stay readable, and what is documented must be what is published."""

from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.__main__ import ASYNCAPI_FILE
from libs.common.events.base import Envelope, Event, EventReader, Undecodable, encode
from libs.common.events.registry import EVENTS
from libs.common.events.schemas import (
    EXAMPLE_DIRECTORY,
    asyncapi,
    incompatibilities,
    render,
    schema_file,
    schema_of,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(EXAMPLE_DIRECTORY.glob("*.json"))
READER = EventReader(EVENTS.values())
EVENT_ID = UUID("018f2b6a-0000-7000-8000-00000000000f")


def event_class_of(example: Path) -> type[Event]:
    return EVENTS[example.name.rpartition(".v")[0]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
class TestExample:
    def test_is_decoded_to_all_of_its_values(self, example: Path) -> None:
        written = msgspec.json.decode(example.read_bytes())

        event = msgspec.json.decode(example.read_bytes(), type=event_class_of(example))

        assert msgspec.to_builtins(event) == written

    def test_is_read_by_a_reader_that_knows_fewer_fields(self, example: Path) -> None:
        newer = {**msgspec.json.decode(example.read_bytes()), "a_field_of_tomorrow": [1, 2]}

        event = msgspec.json.decode(msgspec.json.encode(newer), type=event_class_of(example))

        assert event == msgspec.json.decode(example.read_bytes(), type=event_class_of(example))

    def test_survives_the_wire_with_its_envelope(self, example: Path) -> None:
        envelope = Envelope(
            id=EVENT_ID,
            event=msgspec.json.decode(example.read_bytes(), type=event_class_of(example)),
            time=datetime(2011, 6, 1, 12, tzinfo=UTC),
            source="orders",
            aggregate_version=7,
            correlation_id="basket-9",
            causation_id="b",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )

        record = encode(envelope)

        assert READER.decode(record.value, record.headers) == envelope


@pytest.mark.parametrize("event_class", EVENTS.values(), ids=EVENTS.keys())
class TestSchema:
    def test_is_committed_as_generated(self, event_class: type[Event]) -> None:
        assert schema_file(event_class).read_text() == render(schema_of(event_class))

    def test_has_an_example(self, event_class: type[Event]) -> None:
        assert (EXAMPLE_DIRECTORY / f"{event_class.type}.v{event_class.version}.json").exists()


def test_the_asyncapi_document_is_committed_as_generated() -> None:
    assert (ROOT / ASYNCAPI_FILE).read_text() == render(asyncapi())


class TestIncompatibilities:
    @staticmethod
    def changed(**changes: Any) -> list[str]:
        old = schema_of(EVENTS["order.cancelled"])
        new = deepcopy(old)
        fields = new["$defs"]["OrderCancelled"]["properties"]
        for name, schema in changes.items():
            fields.pop(name, None)
            if schema is not None:
                fields[name] = schema
        return incompatibilities(old, new)

    def test_allows_a_new_optional_field(self) -> None:
        assert self.changed(actor={"type": "string", "default": "customer"}) == []

    def test_allows_a_wider_type(self) -> None:
        assert self.changed(reason={"anyOf": [{"type": "string"}, {"type": "null"}]}) == []

    def test_names_a_removed_field(self) -> None:
        assert self.changed(stage=None) == ["OrderCancelled.stage is gone"]

    def test_names_a_changed_type(self) -> None:
        assert self.changed(stage={"type": "integer"}) == ["OrderCancelled.stage accepts less than before"]

    def test_names_a_newly_required_field(self) -> None:
        old = schema_of(EVENTS["order.cancelled"])
        new = deepcopy(old)
        new["$defs"]["OrderCancelled"]["required"].append("actor")

        assert incompatibilities(old, new) == ["OrderCancelled.actor is newly required"]


class TestEventReader:
    @given(value=st.binary(max_size=200), event_type=st.sampled_from(sorted(EVENTS)))
    def test_turns_any_bytes_into_an_event_or_a_reason(self, value: bytes, event_type: str) -> None:
        headers = [
            ("ce_type", event_type.encode()),
            ("ce_id", str(EVENT_ID).encode()),
            ("ce_time", b"2011-06-01T12:00:00Z"),
        ]
        reason = None
        try:
            READER.decode(value, headers)
        except Undecodable as undecodable:
            reason = undecodable.reason

        assert reason in {None, "malformed", "schema-mismatch"}

    @pytest.mark.parametrize(
        ("header", "value", "reason"),
        [
            ("ce_id", b"not-a-uuid", "malformed"),
            ("ce_time", b"yesterday", "malformed"),
            ("ce_time", b"\xff", "malformed"),
            ("aggregate_version", "٣".encode(), "malformed"),  # a digit, but not one we write
            ("ce_type", b"order.vanished", "unknown-type"),
        ],
    )
    def test_names_what_is_wrong_with_a_header(self, header: str, value: bytes, reason: str) -> None:
        example = EXAMPLE_DIRECTORY / "order.cancelled.v1.json"
        headers = {
            "ce_type": b"order.cancelled",
            "ce_id": str(EVENT_ID).encode(),
            "ce_time": b"2011-06-01T12:00:00Z",
            header: value,
        }

        with pytest.raises(Undecodable) as caught:
            READER.decode(example.read_bytes(), list(headers.items()))

        assert caught.value.reason == reason
