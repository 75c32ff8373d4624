import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.http.unsafe_text import RepeatedKey, check_json_text, may_repeat_keys

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['"', '\\"', "\\", '":', "NaN", "\u2028"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


class TestRepeatedKeys:
    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            (b'{"a": 1, "a": 1}', "/a"),
            (rb'{"a": 1, "\u0061": 2}', "/a"),
            (b'{"a": {"a": 1}, "lines": [{"sku": "A"}, {"sku": "A", "sku" : "B"}]}', "/lines/1/sku"),
            (b'{"a/b": {"c~d": null, "c~d": null}}', "/a~1b/c~0d"),
            # Two quotation marks less for the key that is lost, two more for those that were escaped as numbers.
            (rb'{"a": 1, "a": "\u0022\u0022"}', "/a"),
            # Not for the first of the parsers.
            (b'\xef\xbb\xbf{"a": 1, "a": 2}', "/a"),
            (b'{"a": 1e400, "a": 2}', "/a"),
        ],
    )
    def test_are_refused_by_name(self, body: bytes, pointer: str) -> None:
        with pytest.raises(RepeatedKey) as refusal:
            check_json_text(body)

        assert refusal.value.field == pointer

    @given(JSON, st.booleans(), st.sampled_from([None, 1]))
    def test_are_not_seen_where_there_are_none(self, content: Any, is_escaped: bool, indent: int | None) -> None:  # noqa: FBT001 - made up
        check_json_text(json.dumps(content, ensure_ascii=is_escaped, indent=indent).encode())

    @given(st.dictionaries(TEXTS, JSON, min_size=1, max_size=4), st.data())
    def test_are_seen_wherever_they_are(self, content: dict[str, Any], data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(content)))
        pairs = [*content.items(), (key, data.draw(JSON))]
        body = "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}"

        with pytest.raises(RepeatedKey):
            check_json_text(f"[{body}]".encode())

    @pytest.mark.parametrize("body", [b"{", b'{"a" 1}', b"[" * 100_000, b"{}{}", b"\xff"])
    def test_are_not_looked_for_in_what_is_no_json(self, body: bytes) -> None:
        check_json_text(body)

    def test_are_looked_for_in_many_lines_at_once(self) -> None:
        assert not may_repeat_keys(b'{"a": "1"}\r\n\n{"a": "2"}\n', is_lines=True)
        assert may_repeat_keys(b'{"a": "1"}\n{"a": "2", "a": "3"}\n', is_lines=True)
