from collections.abc import Iterator

import pytest
from fastapi import APIRouter

from libs.common.failpoints import failpoints
from libs.common.http.auth import public
from tests.unit.common.http.conftest import AppFactory, ClientFactory


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def a_shop(written: list[str]) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/things", dependencies=[public()])
    async def write() -> None:
        written.append("a thing")

    @router.get("/v1/things", dependencies=[public()])
    async def read() -> list[str]:
        return written

    return router


async def test_a_write_is_carried_out_before_its_answer_is_lost(make_app: AppFactory, connect: ClientFactory) -> None:
    failpoints.arm("api.before-answer[orders]=raise@2")
    written: list[str] = []
    client = connect(make_app(a_shop(written)))

    assert (await client.post("/v1/things")).status_code == 200
    await client.get("/v1/things")
    assert (await client.post("/v1/things")).status_code == 500
    assert written == ["a thing", "a thing"]


async def test_nothing_is_carried_out_when_it_dies_before(make_app: AppFactory, connect: ClientFactory) -> None:
    failpoints.arm("api.before-handling[/v1/things]=raise")
    written: list[str] = []
    client = connect(make_app(a_shop(written)))

    assert (await client.post("/v1/things")).status_code == 500
    assert not written


def test_no_middleware_is_wired_in_when_nothing_is_armed(make_app: AppFactory) -> None:
    plain = len(make_app(a_shop([])).user_middleware)
    failpoints.arm("api.before-answer=exit")

    assert len(make_app(a_shop([])).user_middleware) == plain + 1
