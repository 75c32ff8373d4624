from typing import Annotated, Literal

import asyncpg
import httpx
import pytest
from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from libs.common.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, PreconditionFailed, Unavailable
from libs.common.http.auth import public
from libs.common.http.problems import PROBLEM_ERRORS_MAX
from tests.unit.common.http.conftest import AppFactory, ClientFactory

SECRET = "hunter2-canary"


class ParasolNotFound(NotFound):
    """No parasol has this id."""

    code = "parasol-not-found"


class OrderGone(NotFound):
    """The order was erased."""

    code = "order-gone"


class Line(BaseModel):
    sku: str = Field(max_length=12)
    quantity: int = Field(ge=1)


class PlaceOrder(BaseModel):
    lines: list[Line]
    note: str = ""


async def answer_to(error: Exception, make_app: AppFactory, connect: ClientFactory) -> httpx.Response:
    router = APIRouter(dependencies=[public()])

    @router.get("/v1/orders/{order_id}")
    async def read_order(order_id: int) -> None:
        del order_id
        raise error

    app = make_app(router, status_by_error={OrderGone: 410})
    return await connect(app).get("/v1/orders/7")


@pytest.fixture
def client(make_app: AppFactory, connect: ClientFactory) -> httpx.AsyncClient:
    router = APIRouter(dependencies=[public()])

    @router.post("/v1/orders")
    async def place_order(order: PlaceOrder) -> int:
        return len(order.lines)

    return connect(make_app(router))


class TestDomainError:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (NotFound("x"), 404),
            (Conflict("x"), 409),
            (Invalid("x"), 422),
            (Forbidden("x"), 403),
            (Unavailable("x"), 503),
            (PreconditionFailed("x"), 412),
            (DomainError("x"), 400),
            (ParasolNotFound("x"), 404),  # by the kind it is
            (OrderGone("x"), 410),  # by the service's own table
        ],
    )
    async def test_has_the_status_of_its_nearest_kind(
        self, error: DomainError, status: int, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        response = await answer_to(error, make_app, connect)

        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"

    async def test_is_told_in_full(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await answer_to(ParasolNotFound("There is no parasol 7.", field="parasol_id"), make_app, connect)

        problem = response.json()
        assert len(problem.pop("trace_id")) == 32
        assert problem == {
            "type": "/problems/parasol-not-found",
            "title": "Parasol not found",
            "status": 404,
            "detail": "There is no parasol 7.",
            "instance": "/v1/orders/7",
            "code": "parasol-not-found",
            "errors": [{"field": "parasol_id", "reason": "There is no parasol 7."}],
            "retryable": False,
        }

    async def test_that_may_pass_says_when_to_try_again(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await answer_to(Unavailable("Not now."), make_app, connect)

        assert response.headers["retry-after"] == "1"
        assert response.json()["retryable"] is True


class TestDatabaseError:
    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.CannotConnectNowError("the database system is starting up"),
            asyncpg.DeadlockDetectedError("deadlock detected"),
            asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
            asyncpg.InterfaceError("connection is closed"),
            asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
            PoolTimeout("QueuePool limit reached"),
            ConnectionRefusedError(111, "Connection refused"),
            TimeoutError(),
            DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_that_passes_by_itself_is_503(
        self, error: Exception, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        response = await answer_to(error, make_app, connect)

        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1

    async def test_of_a_value_that_cannot_be_stored_is_the_callers(
        self, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        response = await answer_to(asyncpg.DataError("value out of int64 range"), make_app, connect)

        assert response.status_code == 422
        assert response.json()["code"] == "invalid-value"

    async def test_of_our_own_making_is_500(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await answer_to(asyncpg.UndefinedTableError(SECRET), make_app, connect)

        assert response.status_code == 500
        assert SECRET not in response.text


class TestUnanticipatedError:
    async def test_says_nothing_of_itself(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await answer_to(ZeroDivisionError(SECRET), make_app, connect)

        assert response.status_code == 500
        assert response.json()["code"] == "internal-error"
        assert SECRET not in response.text
        assert "ZeroDivision" not in response.text

    async def test_keeps_the_ids_and_security_headers(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await answer_to(ZeroDivisionError(), make_app, connect)

        assert response.headers["x-correlation-id"]
        assert response.headers["x-content-type-options"] == "nosniff"


class TestHttpException:
    async def test_of_the_framework_is_a_problem_too(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await answer_to(HTTPException(418, "I am a teapot."), make_app, connect)

        assert response.status_code == 418
        assert response.headers["content-type"] == "application/problem+json"

    async def test_unknown_route_is_404(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/nothing")).json()["code"] == "route-not-found"

    async def test_wrong_method_is_405_and_names_the_right_one(self, client: httpx.AsyncClient) -> None:
        response = await client.delete("/v1/orders")

        assert response.json()["code"] == "method-not-allowed"
        assert response.headers["allow"] == "POST"

    async def test_wrong_method_names_all_that_are_right(self, make_app: AppFactory, connect: ClientFactory) -> None:
        router = APIRouter(prefix="/v1/lamps", dependencies=[public()])
        for method in ("PUT", "GET", "DELETE"):

            @router.api_route("/{lamp}", methods=[method], name=method)
            async def answer(lamp: str) -> str:
                return lamp

        response = await connect(make_app(router)).patch("/v1/lamps/1")

        assert response.headers["allow"] == "DELETE, GET, PUT"


class TestInvalidRequest:
    async def test_names_each_wrong_field_and_why(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/orders", json={"lines": [{"sku": "OMINOUS-LAMP", "quantity": 0}, {}]})

        assert response.status_code == 422
        assert {(error["pointer"], error["reason"]) for error in response.json()["errors"]} == {
            ("/lines/0/quantity", "Input should be greater than or equal to 1"),
            ("/lines/1/sku", "Field required"),
            ("/lines/1/quantity", "Field required"),
        }

    async def test_never_repeats_a_value(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/orders", json={"lines": [{"sku": SECRET, "quantity": SECRET}]})

        assert response.status_code == 422
        assert SECRET not in response.text

    async def test_never_repeats_what_a_choice_was_made_by(self, make_app: AppFactory, connect: ClientFactory) -> None:
        class Lamp(BaseModel):
            kind: Literal["lamp"]

        class Chair(BaseModel):
            kind: Literal["chair"]

        router = APIRouter(dependencies=[public()])

        @router.post("/v1/things")
        async def take(_thing: Annotated[Lamp | Chair, Field(discriminator="kind")]) -> None: ...

        response = await connect(make_app(router)).post("/v1/things", json={"kind": SECRET})

        assert response.status_code == 422
        assert SECRET not in response.text
        assert "'lamp', 'chair'" in response.json()["errors"][0]["reason"]

    async def test_names_a_bounded_number_of_errors(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/orders", json={"lines": [{}] * 500})

        problem = response.json()
        assert len(problem["errors"]) == PROBLEM_ERRORS_MAX
        assert "1000 errors" in problem["detail"]

    async def test_malformed_json_is_400_with_its_position(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            "/v1/orders", content=b'{"lines":\n  [,]}', headers={"content-type": "application/json"}
        )

        assert response.status_code == 400
        assert "line 2, column 4" in response.json()["detail"]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            (rb'{"lines": [], "note": "a\u0000b"}', "/note"),
            (rb'{"lines": [{"sku": "A\u0000", "quantity": 1}]}', "/lines/0/sku"),
            (rb'{"lines": [{"sku": "\ud83d", "quantity": 1}]}', "/lines/0/sku"),
            (b'{"lines": [], "note": "\xed\xa0\x80"}', "/note"),
            (b'{"lines": [{"sku": "A", "quantity": 1, "sku": "B"}]}', "/lines/0/sku"),
        ],
        ids=["NUL", "NUL in a list", "half a surrogate pair", "the same as raw bytes", "a key twice"],
    )
    async def test_refuses_what_the_database_or_the_caller_cannot_mean(
        self, body: bytes, pointer: str, client: httpx.AsyncClient
    ) -> None:
        response = await client.post("/v1/orders", content=body, headers={"content-type": "application/json"})

        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]

    @pytest.mark.parametrize(
        "content_type", ["application/json; charset=utf-8", "application/vnd.orders+json", "Application/JSON"]
    )
    async def test_looks_into_every_kind_of_json(self, content_type: str, client: httpx.AsyncClient) -> None:
        body = rb'{"lines": [], "note": "\u0000"}'

        response = await client.post("/v1/orders", content=body, headers={"content-type": content_type})

        assert response.json()["code"] == "unstorable-text"

    async def test_accepts_a_whole_surrogate_pair(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            "/v1/orders",
            content=rb'{"lines": [], "note": "\ud83d\ude00"}',
            headers={"content-type": "application/json"},
        )

        assert response.status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 100_000,
            b'{"lines": [], "note": NaN}',
            b'{"lines": [], "note": ' + b"9" * 5000 + b"}",
            '{"lines": []}'.encode("utf-16"),
            b'{"lines": [], "note": "\xff"}',
            b"\xef\xbb\xbf",
        ],
        ids=["depth", "NaN", "huge number", "UTF-16", "not UTF-8", "BOM only"],
    )
    async def test_survives_hostile_json(self, body: bytes, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/orders", content=body, headers={"content-type": "application/json"})

        assert response.status_code in {400, 422}
        assert response.headers["content-type"] == "application/problem+json"

    async def test_refuses_nul_in_the_address(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/orders?after=%00")).json()["code"] == "unstorable-text"


class TestRegistry:
    async def test_lists_every_problem_with_its_meaning(self, client: httpx.AsyncClient) -> None:
        problems = {problem["code"]: problem for problem in (await client.get("/problems")).json()["problems"]}

        assert problems["parasol-not-found"]["description"] == "No parasol has this id."
        assert problems["parasol-not-found"]["status"] == 404
        assert "internal-error" in problems

    async def test_answers_at_the_type_of_a_problem(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/problems/parasol-not-found")).json()["title"] == "Parasol not found"
        assert (await client.get("/problems/malformed-json")).json()["title"] == "Malformed JSON"

    async def test_does_not_know_what_does_not_exist(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/problems/nonsense")).status_code == 404
