from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from libs.common.events.topics import STOREFRONT_BEHAVIOUR
from libs.common.ids import new_id
from services.recommender.domain.popularity import VIEW_WEIGHT, act
from services.recommender.storage.reads import PostgresReads
from tests.integration.recommender.facts import NOON
from tests.integration.recommender.running import running_api, running_recommender, settings_for
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase

NDJSON = {"Content-Type": "application/x-ndjson"}


def a_view(sku: str = "CRUNCHY-ARMCHAIR", **changes: Any) -> dict[str, Any]:
    return {
        "id": str(new_id()),
        "type": "product.viewed",
        "visitor_id": "visitor-1",
        "session_id": "session-1",
        "occurred_at": "2011-06-01T12:00:00Z",
        "sku": sku,
        **changes,
    }


def accepted_views() -> float:
    name = "recommender_behaviour_events_accepted_total"
    return REGISTRY.get_sample_value(name, {"event_type": "product.viewed"}) or 0.0


class TestIntake:
    async def test_accepts_what_is_on_the_topic_and_says_what_is_wrong_with_the_rest(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        before = accepted_views()
        async with running_recommender(infrastructure, database, has_consumer=False) as shop:
            one = await shop.client.post("/v1/behaviour-events", json=a_view("TALL-LAMP"))
            rows = [a_view("CRUNCHY-ARMCHAIR"), a_view("OMINOUS-MIRROR", visitor_id=""), a_view("BLUE-VASE")]
            content = msgspec.json.Encoder().encode_lines(rows) + b"{"
            many = await shop.client.post("/v1/behaviour-events", content=content, headers=NDJSON)
            published = await shop.bus.read_all(STOREFRONT_BEHAVIOUR)

        assert (one.status_code, one.json()) == (202, {"accepted": 1, "rejected": 0, "errors": []})
        assert many.status_code == 202
        assert (many.json()["accepted"], many.json()["rejected"]) == (2, 2)
        assert [(error["row"], error["field"], error["code"]) for error in many.json()["errors"]] == [
            (2, "visitor_id", "invalid-value"),
            (4, None, "malformed-json"),
        ]
        assert [envelope.event.sku for envelope in published] == ["TALL-LAMP", "CRUNCHY-ARMCHAIR", "BLUE-VASE"]  # type: ignore[attr-defined]
        assert {str(envelope.id) for envelope in published} >= {rows[0]["id"], rows[2]["id"]}
        assert accepted_views() - before == 3

    async def test_refuses_with_the_field_and_only_who_may_not(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        async with running_recommender(infrastructure, database, has_consumer=False) as shop:
            wrong = await shop.client.post("/v1/behaviour-events", json=a_view(sku=""))
            future = await shop.client.post("/v1/behaviour-events", json=a_view(occurred_at="2200-01-01T00:00:00Z"))
            image = await shop.client.post("/v1/behaviour-events", content=b"x", headers={"Content-Type": "image/png"})
            warehouse = await shop.client.post(
                "/v1/behaviour-events", json=a_view(), headers={"Authorization": "Bearer warehouse-key"}
            )
            published = await shop.bus.read_all(STOREFRONT_BEHAVIOUR)

        assert wrong.status_code == 422
        assert wrong.json()["errors"][0]["field"] == "sku"
        assert (future.status_code, future.json()["code"]) == (422, "implausible-time")
        assert image.status_code == 415
        assert warehouse.status_code == 403
        assert published == []

    async def test_posted_twice_counts_once(self, infrastructure: Infrastructure, database: FreshDatabase) -> None:
        async with running_recommender(infrastructure, database) as shop:
            views = [a_view("CRUNCHY-ARMCHAIR"), a_view("OMINOUS-MIRROR")]
            content = msgspec.json.Encoder().encode_lines([*views, *views])
            for _ in range(2):
                await shop.client.post("/v1/behaviour-events", content=content, headers=NDJSON)
            # Of the same visitor, so on the same partition: what comes after it has been applied, too.
            await shop.client.post("/v1/behaviour-events", json=a_view("TALL-LAMP", session_id="session-2"))

            async def popularity_by_sku() -> dict[str, float]:
                async with PostgresReads(database) as reads:
                    return {item.sku: item.popularity for item in await reads.popular()}

            found = await eventually(popularity_by_sku, lambda found: "TALL-LAMP" in found)

        # A view that counted twice would have added one half-life.
        assert found["CRUNCHY-ARMCHAIR"] == pytest.approx(act(VIEW_WEIGHT, NOON))

    async def test_answers_503_when_the_broker_does_not(self, database: FreshDatabase) -> None:
        # Port 9 (discard) is bound by nobody here.
        settings = settings_for(database, bootstrap_servers="127.0.0.1:9")
        async with running_api(settings, database) as client:
            answer = await client.post("/v1/behaviour-events", json=a_view())
            ready = await client.get("/readyz")

        assert (answer.status_code, answer.json()["code"]) == (503, "behaviour-stream-not-answering")
        assert answer.json()["retryable"] is True
        assert ready.status_code == 503
        assert {error["field"] for error in ready.json()["errors"]} == {"stock", "listing"}
