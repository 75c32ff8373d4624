"""How patiently a service is called."""

from collections.abc import Callable

import httpx
import pytest

from bench.replay.api import Api, Refused, Unreachable

Handler = Callable[[httpx.Request], httpx.Response]


def api(handler: Handler, *, patience_seconds: float = 5.0) -> Api:
    return Api(
        "http://orders.test", key="secret", transport=httpx.MockTransport(handler), patience_seconds=patience_seconds
    )


def answering(*responses: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives the responses in turn, and the requests that it got."""
    requests: list[httpx.Request] = []
    remaining = iter(responses)

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        response = next(remaining)
        if isinstance(response, Exception):
            raise response
        return response

    return handle, requests


class TestSend:
    async def test_presents_the_key(self) -> None:
        handler, requests = answering(httpx.Response(200, json={"id": "1"}))

        async with api(handler) as orders:
            answer = await orders.get("/v1/orders/1")

        assert answer.body == {"id": "1"}
        assert requests[0].headers["Authorization"] == "Bearer secret"

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(httpx.ConnectError("refused"), id="process restarting"),
            pytest.param(httpx.ReadError("reset"), id="process killed meanwhile"),
            pytest.param(httpx.ReadTimeout("slow"), id="no answer"),
            pytest.param(httpx.Response(503), id="database away"),
            pytest.param(httpx.Response(429), id="too many requests"),
            pytest.param(httpx.Response(409, json={"code": "busy", "retryable": True}), id="says retryable"),
        ],
    )
    async def test_repeats_the_same_request_when_a_fault_may_pass(self, fault: httpx.Response | Exception) -> None:
        handler, requests = answering(fault, httpx.Response(201, json={"id": "1"}))

        async with api(handler) as orders:
            answer = await orders.post("/v1/orders", body={"a": 1}, idempotency_key="replay-1")

        assert answer.status == 201
        assert orders.retries == 1
        assert [request.headers["Idempotency-Key"] for request in requests] == ["replay-1"] * 2
        assert requests[0].content == requests[1].content

    async def test_shows_a_refusal_with_its_reason(self) -> None:
        problem = {"code": "quantity-invalid", "detail": "No.", "errors": [{"field": "/lines/0/quantity"}]}
        handler, requests = answering(httpx.Response(422, json=problem))

        async with api(handler) as orders:
            with pytest.raises(Refused, match="lines/0/quantity") as refused:
                await orders.get("/v1/orders/1")

        assert (refused.value.status, refused.value.code) == (422, "quantity-invalid")
        assert len(requests) == 1

    async def test_shows_an_answer_that_is_no_problem_document(self) -> None:
        handler, _ = answering(httpx.Response(500, text="oops"))

        async with api(handler) as orders:
            with pytest.raises(Refused, match=r"500 .*oops") as refused:
                await orders.get("/v1/orders/1")

        assert refused.value.code == ""

    async def test_gives_up_in_the_end(self) -> None:
        handler, _ = answering(httpx.ConnectError("refused"))

        async with api(handler, patience_seconds=0) as orders:
            with pytest.raises(Unreachable, match="refused"):
                await orders.get("/v1/orders/1")
