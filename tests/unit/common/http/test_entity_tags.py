import httpx
import pytest
from fastapi import APIRouter

from libs.common.http.auth import public
from libs.common.http.entity_tags import IfMatch, IfNoneMatch, entity_tag, is_current, versions_of
from tests.unit.common.http.conftest import AppFactory, ClientFactory

KNOWN = range(1, 100)


class TestVersionsOf:
    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            ('"3"', {3}),
            ('"3", "4"', {3, 4}),
            # A weak tag promises too little to base a change on.
            ('W/"3", "4"', {4}),
            ('"someone-elses"', set()),
            ('"9999999999999999999"', set()),
            (entity_tag(7), {7}),
            (" * ", set(KNOWN)),
        ],
    )
    def test_are_those_of_strong_tags(self, tags: str, expected: set[int]) -> None:
        assert {version for version in KNOWN if version in versions_of(tags)} == expected

    def test_do_not_have_what_is_not_there(self) -> None:
        assert 0 not in versions_of("*")


class TestIsCurrent:
    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            (None, False),
            ('"2"', True),
            ('W/"2"', True),
            ('"1", W/"2"', True),
            ('"1"', False),
            ('"b"', False),
            ("*", True),
        ],
    )
    def test_compares_weakly(self, tags: str | None, expected: bool) -> None:  # noqa: FBT001 - a table's column
        assert is_current(tags, 2) is expected


class TestHeaders:
    @pytest.fixture
    def client(self, make_app: AppFactory, connect: ClientFactory) -> httpx.AsyncClient:
        router = APIRouter(dependencies=[public()])

        @router.put("/v1/lamp")
        async def put_lamp(if_match: IfMatch = None) -> str | None:
            return if_match

        @router.get("/v1/lamp")
        async def show_lamp(if_none_match: IfNoneMatch = None) -> str | None:
            return if_none_match

        return connect(make_app(router))

    @pytest.mark.parametrize("tags", ["3", '"3', "", '"3" "4"', "W/3", '*, "3"', '"a b"', "w/'3'"])
    async def test_that_are_no_list_of_tags_are_refused_by_name(self, client: httpx.AsyncClient, tags: str) -> None:
        for method, header in (("PUT", "If-Match"), ("GET", "If-None-Match")):
            answer = await client.request(method, "/v1/lamp", headers={header: tags})

            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, header)

    @pytest.mark.parametrize("tags", ["*", '"3"', 'W/"3","x-y!#~"', '""'])
    async def test_that_are_are_read(self, client: httpx.AsyncClient, tags: str) -> None:
        assert (await client.put("/v1/lamp", headers={"If-Match": tags})).json() == tags
