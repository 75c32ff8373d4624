"""Whatever lies on the bus is an event or is told to be none: nothing else may come out of reading it."""

from typing import Any

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from deploy.local.environment import REPOSITORY
from libs.common.events.base import Envelope, EventReader, Undecodable
from libs.common.events.registry import EVENTS

EXAMPLES = REPOSITORY / "libs" / "common" / "events" / "examples"
READER = EventReader(EVENTS.values())
TYPES = st.sampled_from(sorted(EVENTS))
HOURS = ["2026-03-02T09:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-W01-1", "24:00", "\0"]
TIMES = st.sampled_from([text.encode() for text in HOURS])
IDS = st.sampled_from([b"018f4b6e-0000-7000-8000-000000000001", b"{}", b"urn:uuid:", b"0" * 32, b"0" * 33])
NUMBERS = st.sampled_from([text.encode() for text in ("0", "-1", "1e9", "٣", "9" * 18, "9" * 19, "")])
WELL: dict[str, Any] = {
    "ce_id": b"018f4b6e-0000-7000-8000-000000000001",
    "ce_time": b"2026-03-02T09:00:00Z",
    "aggregate_version": b"1",
}
TEXTS = st.one_of(st.binary(max_size=20), st.none(), st.text(max_size=20).map(lambda text: text.encode("utf-8")))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.sampled_from(HOURS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def bodies(draw: st.DrawFn, event_type: str) -> bytes | None:
    """Return the body of an event, mostly with another value or two, sometimes none at all."""
    body: dict[str, Any] = msgspec.json.decode((EXAMPLES / f"{event_type}.v1.json").read_bytes())
    body |= {name: draw(VALUES) for name in draw(st.sets(st.sampled_from(sorted(body)), max_size=2))}
    raw = msgspec.json.encode(body)
    return draw(st.one_of(st.just(raw), st.just(raw), st.just(raw[:-1]), st.none(), st.binary(max_size=30)))


@settings(max_examples=200)
@given(st.data())
def test_reading_a_record_raises_nothing_that_nobody_expects(data: st.DataObject) -> None:
    event_type = data.draw(TYPES)
    odd = {
        "ce_id": IDS,
        "ce_time": TIMES,
        "aggregate_version": NUMBERS,
        "traceparent": TEXTS,
        "body": bodies(event_type),
    }
    # One thing after the other: what is wrong with the first is all that would be told.
    chosen = data.draw(st.sampled_from(sorted(odd)))
    found = WELL | {"body": (EXAMPLES / f"{event_type}.v1.json").read_bytes()} | {chosen: data.draw(odd[chosen])}
    body = found.pop("body")
    headers: list[Any] = [("ce_type", event_type.encode()), *found.items()]

    try:
        envelope = READER.decode_known(body, headers)
    except Undecodable as error:
        event(error.reason)
    else:
        event("an event")
        assert isinstance(envelope, Envelope)
