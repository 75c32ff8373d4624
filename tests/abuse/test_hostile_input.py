"""Every route under hostile bodies, values, addresses and queries: refused with a reason, never a fault (F49, F60)."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.abuse import hostile
from tests.abuse.bodies import Pointer, Write, places, writes
from tests.abuse.effort import Effort
from tests.abuse.routes import STRANGER, applications, every_route
from tests.abuse.site import Site

IN_FLIGHT_MAX: Final = 8
# What is tried of a corpus where there is no time for all of it; always the same part.
PART: Final = 8
SEED: Final = 20260302
# Put where another value is to be, and replaced in the text.
MARK: Final = "@mark@"
MEBIBYTE: Final = 1024 * 1024
# What no answer may hold, whatever was sent: the inside of a process.
INSIDES: Final = ("Traceback", "asyncpg", "sqlalchemy", "pydantic", 'File "', "SELECT ", "INSERT INTO")
SECURITY_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Attack:
    """One request of a corpus, and how it was answered."""

    def __init__(
        self,
        name: str,
        service: str,
        request: dict[str, Any],
        allowed: frozenset[int] | None = None,
        *,
        named: str | None = None,
    ) -> None:
        """Expect one of the statuses `allowed`, and a refusal that names the field `named`."""
        self.name = name
        self.service = service
        self.request = request
        self.allowed = allowed
        self.named = named

    def faults(self, answer: httpx.Response) -> Iterator[str]:
        """Say what is wrong with an answer, whatever was asked."""
        if answer.status_code >= 500:
            yield f"{answer.status_code}: {answer.text[:200]}"
        if self.allowed is not None and answer.status_code not in self.allowed:
            yield f"{answer.status_code}, not one of {sorted(self.allowed)}: {answer.text[:200]}"
        if answer.status_code >= 400:
            yield from self.faults_of_problem(answer)
        for name, value in SECURITY_HEADERS.items():
            if answer.headers.get(name) != value:
                yield f"lacks {name}"
        if "set-cookie" in answer.headers or "x-injected" in answer.headers or "server" in answer.headers:
            yield f"has headers that nobody should set: {list(answer.headers)}"

    def faults_of_problem(self, answer: httpx.Response) -> Iterator[str]:
        if answer.headers.get("content-type") != "application/problem+json":
            yield f"{answer.status_code} is {answer.headers.get('content-type')}, not a problem"
            return
        problem = answer.json()
        if problem["status"] != answer.status_code or not problem["code"]:
            yield f"a problem that says otherwise: {problem}"
        if answer.status_code == 422 and not problem.get("errors"):
            yield f"names no field: {problem}"
        if self.named is not None and self.named not in {error.get("field") for error in problem.get("errors", ())}:
            yield f"does not name {self.named}: {problem}"
        if any(inside in answer.text for inside in INSIDES):
            yield f"shows what is inside: {answer.text[:300]}"


async def carry_out(site: Site, attacks: Sequence[Attack]) -> dict[str, list[str]]:
    """Send every request; return the faults by its name."""
    places_free = asyncio.Semaphore(IN_FLIGHT_MAX)
    clients = {name: service.client(site.keys.ops) for name, service in site.services.items()}

    async def one(attack: Attack) -> tuple[str, list[str]]:
        async with places_free:
            request = clients[attack.service].build_request(**attack.request)
            try:
                answer = await clients[attack.service].send(request, stream=True)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                # Who still sends what was refused may find the connection broken before the answer is read.
                return attack.name, [] if len(request.content) > MEBIBYTE else ["the connection broke"]
            try:
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    return attack.name, []
                await answer.aread()
            finally:
                await answer.aclose()
        return attack.name, list(attack.faults(answer))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(attack)) for attack in attacks]
    finally:
        for client in clients.values():
            await client.aclose()
    return {name: faults for name, faults in (task.result() for task in tasks) if faults}


def assert_harmless(faults: Mapping[str, list[str]]) -> None:
    listed = [f"{name}: {'; '.join(found)}" for name, found in faults.items()]
    assert not faults, "\n".join([f"{len(listed)} attacks were answered wrongly", *listed[:50]])


def part_of(attacks: list[Attack], effort: Effort) -> list[Attack]:
    if effort.is_thorough:
        return attacks
    return random.Random(SEED).sample(attacks, max(1, len(attacks) // PART))  # noqa: S311 - always the same part


def operations(methods: Sequence[str]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield service, method, path and description of every operation."""
    for service, app in applications().items():
        for path, item in app.openapi()["paths"].items():
            for method in methods:
                if method in item:
                    yield service, method.upper(), path, item[method]


def address(path: str, segment: str = STRANGER) -> str:
    return "/".join(segment if part.startswith("{") else part for part in path.split("/"))


class TestBodies:
    async def test_that_are_no_json_or_too_much_of_it_are_refused_everywhere(self, site: Site, effort: Effort) -> None:
        routes = [one for one in operations(("post", "put", "patch")) if "requestBody" in one[3]]
        attacks = [
            Attack(
                f"{method} {service}{path}: {name}",
                service,
                {
                    "method": method,
                    "url": address(path),
                    "content": body,
                    "headers": {"Content-Type": content_type, "Idempotency-Key": f"hostile {name}".replace(" ", "-")},
                },
                # Uploads are refused line by line, and everything may be refused for what it is about.
                None if "ndjson" in content_type or allowed is None else allowed | {404, 409, 413, 415},
            )
            for service, method, path, operation in routes
            for content_type in operation["requestBody"]["content"]
            for name, (body, allowed) in hostile.BODIES.items()
        ]

        assert len(attacks) > 500
        assert_harmless(await carry_out(site, part_of(attacks, effort)))

    async def test_of_a_type_that_is_not_read_are_refused(self, site: Site, effort: Effort) -> None:
        attacks = [
            Attack(
                f"{write.name}: {content_type!r}",
                write.service,
                {
                    "method": write.method,
                    "url": write.path,
                    "content": json.dumps(write.body).encode("utf-16" if "utf-16" in content_type else "utf-8"),
                    "headers": {"Content-Type": content_type, "Idempotency-Key": "types"},
                },
                frozenset({400, 415, 422}),
            )
            for write in writes(number=1)
            for content_type in hostile.CONTENT_TYPES
        ]

        assert_harmless(await carry_out(site, part_of(attacks, effort)))


class TestValues:
    async def test_in_the_place_of_any_other_are_kept_as_they_are_or_refused(self, site: Site, effort: Effort) -> None:
        attacks: list[Attack] = []
        for number, write in enumerate(writes(number=2)):
            for pointer, right in places(write.body):
                wrong: dict[str, Any] = dict(hostile.VALUES)
                if isinstance(right, str):
                    wrong |= hostile.TEXTS
                for name, value in wrong.items():
                    changed = write.with_value(pointer, value)
                    attacks.append(
                        Attack(
                            f"{write.name} {_pointer(pointer)}: {name}",
                            write.service,
                            _request(changed, key=f"values-{number}-{len(attacks)}"),
                        )
                    )

        assert len(attacks) > 2_000
        assert_harmless(await carry_out(site, part_of(attacks, effort)))

    async def test_of_another_type_are_refused_by_name(self, site: Site) -> None:
        """Nothing is converted: what is refused names its field, and an upload has rejected the row."""
        accepted: list[str] = []
        clients = {name: service.client(site.keys.ops) for name, service in site.services.items()}
        for write in writes(number=4):
            for pointer, right in places(write.body):
                for wrong in hostile.CONVERTIBLE.get(type(right), ()):
                    request = _request(write.with_value(pointer, MARK), key=str(uuid4()))
                    request["content"] = request["content"].replace(json.dumps(MARK), wrong)
                    answer = await clients[write.service].request(**request)
                    errors = answer.json().get("errors", [])
                    is_named = any(str(pointer[-1]) in (error.get("field") or "") for error in errors)
                    is_refused = answer.status_code in {400, 422} or answer.json().get("accepted") == 0
                    if not is_refused or not (is_named or answer.status_code == 400):
                        accepted.append(f"{write.name} {_pointer(pointer)} {wrong}: {answer.text[:200]}")
        for client in clients.values():
            await client.aclose()

        assert accepted == []

    async def test_that_are_right_are_accepted(self, site: Site) -> None:
        """What the attacks change is accepted as it is: they are refused for what is hostile in them."""
        clients = {name: service.client(site.keys.ops) for name, service in site.services.items()}
        answers = {}
        for number, write in enumerate(writes(number=3)):
            answer = await clients[write.service].request(**_request(write, key=f"right-{number}"))
            answers[write.name] = (answer.status_code, answer.text if answer.status_code >= 300 else "")
        for client in clients.values():
            await client.aclose()

        assert {name: answer for name, answer in answers.items() if answer[0] >= 300} == {}


class TestAddresses:
    async def test_that_name_nothing_are_refused(self, site: Site, effort: Effort) -> None:
        attacks = [
            Attack(
                f"{route.name}: {segment[:40]}",
                route.service,
                {
                    "method": route.method,
                    "url": httpx.URL(f"{site.services[route.service].url}{address(route.path, segment)}"),
                    "headers": {"Idempotency-Key": "addresses"},
                },
            )
            for route in every_route()
            for segment in hostile.SEGMENTS
            if "{" in route.path
        ]

        assert len(attacks) > 500
        assert_harmless(await carry_out(site, part_of(attacks, effort)))

    async def test_with_hostile_queries_are_refused_or_find_nothing(self, site: Site, effort: Effort) -> None:
        attacks = [
            Attack(
                f"{method} {service}{path}?{parameter['name']}={value[:40]}",
                service,
                {"method": method, "url": f"{address(path)}?{_query(operation, parameter['name'], value)}"},
            )
            for service, method, path, operation in operations(("get",))
            for parameter in operation.get("parameters", ())
            for value in hostile.QUERIES
            if parameter["in"] == "query"
        ]

        assert len(attacks) > 1_000
        assert_harmless(await carry_out(site, part_of(attacks, effort)))

    async def test_with_parameters_that_a_route_does_not_have_are_refused_everywhere(self, site: Site) -> None:
        attacks = [
            Attack(
                f"{route.name}?{query}",
                route.service,
                {
                    "method": route.method,
                    "url": f"{address(route.path)}?{query}",
                    "headers": {"Idempotency-Key": "parameters"},
                },
                frozenset({422}),
                named="from",
            )
            for route in every_route()
            for query in ("from=2026-01-01", "fr%6fm", "limit=1&from=")
            if route.scopes is not None
        ]

        assert len(attacks) > 300
        assert_harmless(await carry_out(site, attacks))


class TestInjection:
    @pytest.fixture
    async def catalog(self, site: Site) -> AsyncIterator[httpx.AsyncClient]:
        async with site.services["catalog"].client(site.keys.ops) as client:
            await self.list_wool(client)
            yield client

    async def list_wool(self, client: httpx.AsyncClient) -> None:
        for sku, title in (("WILD-100", "100% wool"), ("WILD-200", "200_wool"), ("WILD-300", "wool\\cotton")):
            body = {"title": title, "price_minor": 100, "currency": "GBP"}
            assert (await client.put(f"/v1/products/{sku}", json=body)).status_code in {200, 201}

    @pytest.mark.parametrize("text", ["%", "_", "%%%", "\\", "%wo_l", "wo%"])
    async def test_wildcards_are_text(self, catalog: httpx.AsyncClient, text: str) -> None:
        answer = await catalog.get("/v1/products", params={"q": text})

        titles = [item["title"] for item in answer.json()["items"]]
        assert [title for title in titles if text not in title] == []

    @pytest.mark.parametrize("sort", ["price_minor;--", "(SELECT 1)", "newest,title", "1", "title DESC NULLS FIRST"])
    async def test_an_order_that_is_not_listed_is_refused(self, catalog: httpx.AsyncClient, sort: str) -> None:
        answer = await catalog.get("/v1/products", params={"sort": sort})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "sort"

    async def test_what_looks_like_sql_is_stored_as_it_is(self, catalog: httpx.AsyncClient) -> None:
        title = "Robert'); DROP TABLE products; --"
        await catalog.put("/v1/products/BOBBY", json={"title": title, "price_minor": 100, "currency": "GBP"})

        assert (await catalog.get("/v1/products/BOBBY")).json()["title"] == title


class TestSameKeyAtOnce:
    async def test_fifty_requests_with_one_key_have_one_effect(self, site: Site) -> None:
        """One is carried out, the others get its answer or are told to ask again (F52)."""
        key = str(uuid4())
        body = {"sku": key, "title": "Once", "price_minor": 100, "currency": "GBP"}
        async with site.services["catalog"].client(site.keys.ops) as client, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(client.post("/v1/products", json=body, headers={"Idempotency-Key": key}))
                for _ in range(50)
            ]
        answers = [task.result() for task in tasks]

        assert {answer.status_code for answer in answers} <= {201, 409}
        made = [answer for answer in answers if answer.status_code == 201]
        assert sum("Idempotent-Replayed" not in answer.headers for answer in made) == 1
        assert len({answer.text for answer in made}) == 1
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {
            "idempotency-key-in-progress"
        }

    async def test_the_same_key_with_another_body_is_refused(self, site: Site) -> None:
        """F53."""
        key = str(uuid4())
        body = {"sku": key, "title": "Twice", "price_minor": 100, "currency": "GBP"}
        async with site.services["catalog"].client(site.keys.ops) as client:
            answers = [
                await client.post("/v1/products", json=body | {"price_minor": price}, headers={"Idempotency-Key": key})
                for price in (100, 200)
            ]

        assert [answer.status_code for answer in answers] == [201, 422]
        assert answers[1].json()["code"] == "idempotency-key-reused"


def _request(write: Write, *, key: str) -> dict[str, Any]:
    # Escaped, because half a surrogate pair has no other form that leaves this process.
    text = json.dumps(write.body)
    return {
        "method": write.method,
        "url": write.path,
        "content": f"{text}\n" if write.sends_lines else text,
        "headers": {
            "Content-Type": "application/x-ndjson" if write.sends_lines else "application/json",
            "Idempotency-Key": key,
        },
    }


def _pointer(pointer: Pointer) -> str:
    return "".join(f"/{part}" for part in pointer)


def _query(operation: dict[str, Any], hostile_name: str, value: str) -> str:
    """Return a query with one hostile value, and something for every other parameter that is needed."""
    others = {
        parameter["name"]: "2026-03-02T09:00:00Z" if "format" in str(parameter["schema"]) else "nothing"
        for parameter in operation["parameters"]
        if parameter["in"] == "query" and parameter.get("required") and parameter["name"] != hostile_name
    }
    return "&".join([f"{hostile_name}={value}", *(f"{name}={quote(right)}" for name, right in others.items())])
