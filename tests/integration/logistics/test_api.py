"""The HTTP interface, over a real database."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from libs.common.db import Transaction
from libs.common.events.logistics import ShipmentDispatched
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from services.logistics.api.dependencies import Backend
from services.logistics.bootstrap.build import build_app, desk_opener
from services.logistics.handlers.ports import Desk
from tests.integration.logistics.world import LONDON, MORNING, World, a_confirmation, planned

NOON = MORNING.replace(hour=12, minute=0)
ALL_SCOPES = frozenset({"shipments:read", "shipments:write", "logistics:write"})
CARRIER: dict[str, Any] = {
    "name": "Snail",
    "currency": "GBP",
    "services": [
        {
            "service": "slow",
            "name": "By night",
            "cut_off": "17:30",
            "rates": [
                {"zone": "domestic", "base_minor": 1, "per_kg_minor": 1, "transit_days": 2},
                {"zone": "domestic", "base_minor": 0, "per_kg_minor": 0, "transit_days": 1, "distance_km_max": 50},
            ],
        }
    ],
}


@pytest.fixture
def app(world: World) -> FastAPI:
    return build_app(
        world.settings,
        database=world.database,
        clock=world.clock,
        health=Health(),
        open_desk=desk_opener(world.clock),
        authenticator=FixedKeys(
            {
                "operator": Principal("operator", ALL_SCOPES),
                "reader": Principal("reader", frozenset({"shipments:read"})),
            }
        ),
    )


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://logistics",
        headers={"Authorization": "Bearer operator"},
    ) as client:
        yield client


async def post(api: httpx.AsyncClient, path: str, body: Any, *, key: str | None = None) -> httpx.Response:
    return await api.post(path, json=body, headers={"Idempotency-Key": key or str(uuid4())})


def rows(*reports: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(report).encode() for report in reports)


async def report(api: httpx.AsyncClient, content: bytes) -> Any:
    response = await api.post("/v1/shipment-events", content=content, headers={"Content-Type": "application/x-ndjson"})
    assert response.status_code == 200
    return response.json()


class TestShipments:
    async def test_go_all_the_way(self, world: World, api: httpx.AsyncClient) -> None:
        path = f"/v1/shipments/{await world.plan()}"

        dispatched = await post(api, f"{path}/dispatch", {"tracking_number": "GB-1"})
        scanned = await post(api, f"{path}/scans", {"place": "Carlisle", "latitude": 54.9, "longitude": -2.9})
        delivered = await post(api, f"{path}/delivery", {})

        assert [one.status_code for one in (dispatched, scanned, delivered)] == [200, 200, 200]
        shipment = (await api.get(path)).json()
        assert (shipment["status"], shipment["tracking_number"]) == ("delivered", "GB-1")
        assert [scan["place"] for scan in shipment["scans"]] == ["Carlisle"]

    async def test_say_no_to_what_cannot_be(self, world: World, api: httpx.AsyncClient) -> None:
        path = f"/v1/shipments/{await world.plan()}"

        early = await post(api, f"{path}/delivery", {})
        await post(api, f"{path}/dispatch", {})
        twice = await post(api, f"{path}/dispatch", {})
        future = await post(api, f"{path}/delivery", {"delivered_at": "2030-01-01T00:00:00Z"})

        assert (early.status_code, early.json()["code"]) == (409, "shipment-not-dispatched")
        assert (twice.status_code, twice.json()["code"]) == (409, "shipment-already-dispatched")
        assert (future.status_code, future.json()["errors"][0]["field"]) == (422, "delivered_at")

    async def test_answer_the_same_key_with_the_same_answer(self, world: World, api: httpx.AsyncClient) -> None:
        path = f"/v1/shipments/{await world.plan()}/dispatch"

        first = await post(api, path, {}, key="once")
        again = await post(api, path, {}, key="once")
        other = await post(api, path, {"tracking_number": "GB-2"}, key="once")

        assert again.json() == first.json()
        assert other.json()["code"] == "idempotency-key-reused"
        assert len(await world.published(ShipmentDispatched)) == 1

    async def test_keep_a_key_free_when_its_write_was_refused(self, world: World, api: httpx.AsyncClient) -> None:
        path = f"/v1/shipments/{await world.plan()}"
        refused = await post(api, f"{path}/delivery", {}, key="later")
        await post(api, f"{path}/dispatch", {})

        accepted = await post(api, f"{path}/delivery", {}, key="later")

        assert (refused.status_code, accepted.status_code) == (409, 200)

    async def test_are_listed_by_order_and_status_in_pages(self, world: World, api: httpx.AsyncClient) -> None:
        order = a_confirmation(("LON", "CRUNCHY-ARMCHAIR", 1), ("RTM", "CRUNCHY-ARMCHAIR", 1))
        await world.handle(order, *(a_confirmation() for _ in range(5)))

        of_order = (await api.get("/v1/shipments", params={"order_id": str(order.order_id)})).json()
        seen: list[str] = []
        cursor = None
        for _ in range(4):
            page = (
                await api.get("/v1/shipments", params={"status": "planned", "limit": 2, "cursor": cursor or ""})
                if cursor
                else await api.get("/v1/shipments", params={"status": "planned", "limit": 2})
            ).json()
            seen.extend(item["id"] for item in page["items"])
            cursor = page.get("next_cursor")

        assert {item["warehouse"] for item in of_order["items"]} == {"LON", "RTM"}
        assert len(seen) == len(set(seen)) == 7
        assert cursor is None
        assert (await api.get("/v1/shipments", params={"status": "delivered"})).json()["items"] == []

    async def test_refuse_malformed_reports(
        self, world: World, api: httpx.AsyncClient, subtests: pytest.Subtests
    ) -> None:
        own_id = await world.plan()
        malformed: list[tuple[str, str, dict[str, Any]]] = [
            ("no place", "scans", {}),
            ("half a point", "scans", {"place": "x", "latitude": 1.0}),
            ("off the earth", "scans", {"place": "x", "latitude": 91, "longitude": 0}),
            ("a time without a zone", "dispatch", {"dispatched_at": "2026-06-02T12:00:00"}),
            ("a number with a space", "dispatch", {"tracking_number": "a b"}),
            ("an unknown field", "dispatch", {"carrier": "other"}),
            ("a blank reason", "failure", {"reason": " "}),
        ]
        for name, path, body in malformed:
            with subtests.test(name):
                response = await post(api, f"/v1/shipments/{own_id}/{path}", body)

                assert response.status_code == 422
                assert response.json()["errors"]

    async def test_that_do_not_exist_are_not_found(self, api: httpx.AsyncClient) -> None:
        path = f"/v1/shipments/{uuid4()}"

        for response in (
            await api.get(path),
            await api.get(f"{path}/events"),
            await post(api, f"{path}/dispatch", {}),
        ):
            assert (response.status_code, response.json()["code"]) == (404, "shipment-not-found")

    async def test_need_a_key_that_may_write(self, world: World, api: httpx.AsyncClient) -> None:
        path = f"/v1/shipments/{await world.plan()}/dispatch"
        headers = {"Authorization": "Bearer reader", "Idempotency-Key": "x"}

        assert (await api.post(path, json={}, headers=headers)).status_code == 403


class TestBulkReports:
    async def test_are_applied_row_by_row(self, world: World, api: httpx.AsyncClient) -> None:
        own_id = str(await world.plan())
        content = rows(
            {"shipment_id": own_id, "type": "dispatched", "occurred_at": NOON.isoformat()},
            {"shipment_id": own_id, "type": "scanned", "occurred_at": NOON.isoformat(), "place": "Carlisle"},
            {"shipment_id": own_id, "type": "teleported", "occurred_at": NOON.isoformat()},
            {"shipment_id": own_id, "type": "delivered", "occurred_at": "2030-01-01T00:00:00Z"},
            {"shipment_id": str(uuid4()), "type": "delivered", "occurred_at": NOON.isoformat()},
        )

        first = await report(api, content + b"\nnot json\n")
        again = await report(api, content)

        assert (first["accepted"], first["duplicates"], first["rejected"]) == (2, 0, 4)
        assert [(error["row"], error["field"]) for error in first["errors"]] == [
            (3, "type"),
            (4, "occurred_at"),
            (5, None),
            (6, None),
        ]
        assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 2, 3)

    async def test_of_many_rows_take_few_transactions(self, world: World, api: httpx.AsyncClient) -> None:
        await world.handle(LONDON, *(a_confirmation() for _ in range(700)))
        content = rows(
            *(
                {"shipment_id": str(event.shipment_id), "type": "dispatched", "occurred_at": NOON.isoformat()}
                for event in planned(await world.published())
            )
        )

        result = await report(api, content)

        assert result["accepted"] == 700
        assert len(await world.published(ShipmentDispatched)) == 700

    async def test_of_another_form_are_refused(self, api: httpx.AsyncClient) -> None:
        response = await api.post("/v1/shipment-events", content=b"a,b", headers={"Content-Type": "text/csv"})

        assert response.status_code == 415


class TestEventStream:
    async def test_tells_every_state_from_where_it_was_left(
        self, world: World, app: FastAPI, api: httpx.AsyncClient
    ) -> None:
        path = f"/v1/shipments/{await world.plan()}"
        polled = _poll_at_once(app)

        async with asyncio.TaskGroup() as group:
            stream = group.create_task(api.get(f"{path}/events"))
            await polled.wait()
            await post(api, f"{path}/dispatch", {})
            await post(api, f"{path}/delivery", {})
        resumed = await api.get(f"{path}/events", headers={"Last-Event-ID": "1"})

        complete, rest = _events(stream.result().text), _events(resumed.text)
        assert (complete[0]["id"], complete[0]["event"]) == ("1", "planned")
        assert (complete[-1]["id"], complete[-1]["event"]) == ("3", "delivered")
        assert [one["id"] for one in rest] == ["3"]
        assert json.loads(rest[0]["data"])["status"] == "delivered"


class TestCarriers:
    async def test_are_seeded_and_labelled_as_made_up(self, api: httpx.AsyncClient) -> None:
        items = (await api.get("/v1/carriers")).json()["items"]

        assert len(items) == 4
        assert all("made up" in item["name"] for item in items)

    async def test_are_created_changed_and_left_alone(self, api: httpx.AsyncClient) -> None:
        created = await api.put("/v1/carriers/snail", json=CARRIER)
        same = await api.put("/v1/carriers/snail", json=CARRIER)
        changed = await api.put("/v1/carriers/snail", json={**CARRIER, "is_active": False})

        assert [one.status_code for one in (created, same, changed)] == [201, 200, 200]
        assert [one.json()["version"] for one in (created, same, changed)] == [1, 1, 2]
        assert changed.headers["ETag"] == '"2"'

    async def test_take_the_next_shipments_at_once(self, world: World, api: httpx.AsyncClient) -> None:
        await api.put("/v1/carriers/snail", json=CARRIER)

        await world.handle(LONDON, a_confirmation())

        [event] = planned(await world.published())
        assert (event.carrier, event.cost_minor) == ("snail", 2)
        [decision] = (await api.get("/v1/decisions", params={"subject": f"shipment:{event.shipment_id}"})).json()[
            "items"
        ]
        assert decision["id"] == str(event.decision_id)
        assert decision["chosen"] == "snail/slow"
        assert decision["rule"].endswith("rates/2")
        assert decision["alternatives"][0]["score"] == 2

    async def test_are_protected_by_if_match(self, api: httpx.AsyncClient) -> None:
        await api.put("/v1/carriers/snail", json=CARRIER)

        stale = await api.put("/v1/carriers/snail", json=CARRIER, headers={"If-Match": '"7"'})
        nonsense = await api.put("/v1/carriers/snail", json=CARRIER, headers={"If-Match": "seven"})

        assert (stale.status_code, stale.json()["code"]) == (412, "carrier-changed")
        assert nonsense.status_code == 422

    async def test_changed_at_once_lose_no_change(self, api: httpx.AsyncClient) -> None:
        bodies = [{**CARRIER, "name": f"Snail {number}"} for number in range(8)]

        answers = await asyncio.gather(*(api.put("/v1/carriers/snail", json=body) for body in bodies))

        assert sorted(answer.json()["version"] for answer in answers) == [1, 2, 3, 4, 5, 6, 7, 8]

    async def test_refuse_what_cannot_be_compared(self, api: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
        [service] = CARRIER["services"]
        rate = service["rates"][0]
        changes: list[tuple[str, dict[str, Any]]] = [
            ("another currency", {"currency": "EUR"}),
            ("no name", {"name": ""}),
            ("a service twice", {"services": [service, service]}),
            ("a rate twice", {"services": [{**service, "rates": [rate, rate]}]}),
            ("no collection", {"services": [{**service, "cut_off": "24:00"}]}),
            ("digits that nobody expects", {"services": [{**service, "cut_off": "0\u0663:00"}]}),
            ("a name of blanks", {"services": [{**service, "name": "\r\u0085"}]}),
            ("a price below nothing", {"services": [{**service, "rates": [{**rate, "base_minor": -1}]}]}),
        ]
        for name, change in changes:
            with subtests.test(name):
                response = await api.put("/v1/carriers/snail", json={**CARRIER, **change})

                assert response.status_code == 422


def _poll_at_once(app: FastAPI) -> asyncio.Event:
    """Let event streams look for news without pause; the event is set once one has told its first state."""
    backend: Backend = app.state.backend
    polled = asyncio.Event()
    opened = 0

    def open_desk(transaction: Transaction) -> Desk:
        nonlocal opened
        opened += 1
        # The first desk is for the first state, the second for the first look at the version.
        if opened > 1:
            polled.set()
        return backend.open_desk(transaction)

    app.state.backend = replace(backend, open_desk=open_desk, stream_poll_seconds=0.0)
    return polled


def _events(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
