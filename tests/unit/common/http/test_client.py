import asyncio
from collections.abc import Callable

import httpx
import pytest

from libs.common.http.client import create_client
from libs.common.telemetry.tracing import correlated, http_request_span


class Carrier:
    """A third party that answers from a list, and notes what it was asked."""

    def __init__(self, *answers: int | Exception | httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(answer)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the waits between attempts instead of waiting."""
    seconds: list[float] = []

    async def note(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr(asyncio, "sleep", note)
    return seconds


def connected(carrier: Callable[..., object]) -> httpx.AsyncClient:
    return create_client(base_url="http://carrier", transport=httpx.MockTransport(carrier))  # type: ignore[arg-type]


@pytest.mark.usefixtures("waits")
class TestRetries:
    @pytest.mark.parametrize("fault", [503, 502, 429, httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
    async def test_repeat_a_read_that_met_a_passing_fault(self, fault: int | Exception) -> None:
        carrier = Carrier(fault, 200)

        async with connected(carrier) as client:
            assert (await client.get("/rates")).status_code == 200

    async def test_end_after_three_attempts(self) -> None:
        carrier = Carrier(503, 503, 503)

        async with connected(carrier) as client:
            assert (await client.get("/rates")).status_code == 503

        assert len(carrier.requests) == 3

    async def test_raise_the_last_fault(self) -> None:
        carrier = Carrier(*[httpx.ConnectError("refused")] * 3)

        async with connected(carrier) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/rates")

    async def test_never_repeat_a_write_that_could_take_effect_twice(self) -> None:
        carrier = Carrier(httpx.ReadTimeout("slow"))

        async with connected(carrier) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/charges", json={"amount_minor": 100})

        assert len(carrier.requests) == 1

    async def test_repeat_a_write_that_names_itself(self) -> None:
        carrier = Carrier(httpx.ReadTimeout("slow"), 201)

        async with connected(carrier) as client:
            response = await client.post("/charges", json={"a": 1}, headers={"Idempotency-Key": "step-7"})

        assert response.status_code == 201
        assert [request.content for request in carrier.requests] == [b'{"a":1}'] * 2

    @pytest.mark.parametrize("status", [400, 404, 409, 500])
    async def test_leave_alone_what_would_fail_again(self, status: int) -> None:
        carrier = Carrier(status)

        async with connected(carrier) as client:
            assert (await client.get("/rates")).status_code == status


class TestWaits:
    async def test_grow_and_stay_bounded(self, waits: list[float]) -> None:
        async with connected(Carrier(503, 503, 503)) as client:
            await client.get("/rates")

        assert 0.1 <= waits[0] <= 0.2
        assert 0.2 <= waits[1] <= 0.4

    async def test_are_as_long_as_the_third_party_asks(self, waits: list[float]) -> None:
        carrier = Carrier(httpx.Response(503, headers={"Retry-After": "2"}), 200)

        async with connected(carrier) as client:
            await client.get("/rates")

        assert waits == [2.0]

    async def test_are_not_made_when_it_asks_for_too_long(self, waits: list[float]) -> None:
        carrier = Carrier(httpx.Response(429, headers={"Retry-After": "3600"}))

        async with connected(carrier) as client:
            assert (await client.get("/rates")).status_code == 429

        assert waits == []


class TestRequests:
    async def test_carry_the_ids_of_the_action_they_belong_to(self) -> None:
        carrier = Carrier(200)

        with correlated("checkout-17"), http_request_span("POST", f"00-{'a' * 32}-{'b' * 16}-00"):
            async with connected(carrier) as client:
                await client.get("/rates")

        assert carrier.requests[0].headers["x-correlation-id"] == "checkout-17"
        assert carrier.requests[0].headers["traceparent"].startswith(f"00-{'a' * 32}-")

    async def test_do_not_follow_redirects(self) -> None:
        carrier = Carrier(httpx.Response(302, headers={"Location": "http://169.254.169.254/"}))

        async with connected(carrier) as client:
            assert (await client.get("/rates")).status_code == 302
