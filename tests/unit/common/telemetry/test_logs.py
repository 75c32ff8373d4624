import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from libs.common.telemetry.logs import configure_logging, get_logger
from libs.common.telemetry.tracing import correlated, http_request_span

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def output() -> Iterator[StringIO]:
    """Configure as a process does and return what it writes; leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    before = structlog.get_config()
    configure_logging("orders", "info", "json")
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = StringIO()
    handler.setStream(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def logged(output: StringIO) -> dict[str, object]:
    line: dict[str, object] = json.loads(output.getvalue())
    return line


class TestLine:
    def test_holds_the_event_its_facts_and_the_service(self, output: StringIO) -> None:
        get_logger("test").info("order.cancelled", order_id="o-1", lines=2)

        line = logged(output)
        assert line["event"] == "order.cancelled"
        assert line["order_id"] == "o-1"
        assert line["lines"] == 2
        assert line["service"] == "orders"
        assert line["level"] == "info"
        assert str(line["timestamp"]).endswith("Z")

    def test_carries_the_ids_of_the_request(self, output: StringIO) -> None:
        traceparent = f"00-{'a' * 32}-{'b' * 16}-00"

        with correlated("c-1"), http_request_span("GET", traceparent):
            get_logger("test").info("order.cancelled")

        line = logged(output)
        assert line["correlation_id"] == "c-1"
        assert line["trace_id"] == "a" * 32

    def test_has_one_form_for_our_logs_and_the_libraries(self, output: StringIO) -> None:
        logging.getLogger("some.library").warning("it took %s ms", 5)

        line = logged(output)
        assert line["event"] == "it took 5 ms"
        assert line["service"] == "orders"

    def test_is_left_out_below_the_level(self, output: StringIO) -> None:
        get_logger("test").debug("order.looked_at")

        assert output.getvalue() == ""

    def test_says_what_json_cannot_by_its_type(self, output: StringIO) -> None:
        get_logger("test").info("order.cancelled", thing=object(), big=2**80)

        assert logged(output)["event"] == "order.cancelled"


class TestRedaction:
    @pytest.mark.parametrize(
        "key",
        ["authorization", "api_key", "secret", "password", "email", "name", "address", "phone", "X-Api-Key"],
    )
    def test_masks_sensitive_keys(self, key: str, output: StringIO) -> None:
        get_logger("test").info("order.placed", **{key: CANARY})

        assert CANARY not in output.getvalue()

    @pytest.mark.parametrize("key", ["customer_email", "webhook_secret", "refresh_token"])
    def test_masks_keys_that_end_like_sensitive_ones(self, key: str, output: StringIO) -> None:
        get_logger("test").info("order.placed", **{key: CANARY})

        assert CANARY not in output.getvalue()

    def test_masks_them_at_any_depth(self, output: StringIO) -> None:
        get_logger("test").info("order.placed", body={"customer": [{"email": CANARY, "country": "PT"}]})

        text_written = output.getvalue()
        assert CANARY not in text_written
        assert '"country":"PT"' in text_written

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(f"the key qk_live_abcd1234_{CANARY.replace('-', '')}_00abcd was refused", id="api key"),
            pytest.param(f"cannot reach postgresql://orders:{CANARY}@db/orders", id="database password"),
            pytest.param(f"duplicate key\nDETAIL:  Key (email)=({CANARY}) already exists.", id="row values"),
            pytest.param(f"[SQL: insert]\n[parameters: ('{CANARY}',)]", id="statement parameters"),
            pytest.param(f"Input wrong [type=x, input_value='{CANARY}', input_type=str]", id="validated input"),
        ],
    )
    def test_masks_secrets_in_the_texts_of_errors(self, text: str, output: StringIO) -> None:
        get_logger("test").error("order.failed", exc_info=ValueError(text))

        text_written = output.getvalue()
        assert "ValueError" in text_written
        assert CANARY not in text_written
        assert CANARY.replace("-", "") not in text_written
