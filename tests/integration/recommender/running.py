"""A recommender that runs: API, copies and consumer in this process, on the test's own database and topics."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from libs.common.clock import SystemClock
from libs.common.events.topics import CATALOG_PRODUCT, INVENTORY_STOCK, ORDERS_ORDER
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from libs.common.messaging.consumer import Consumer
from libs.common.runtime import Component
from services.recommender.bootstrap import SERVICE, build_api
from services.recommender.consumers import behaviour_subscription
from services.recommender.settings import RecommenderSettings
from services.recommender.storage.counts import PostgresCounts
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase

TOPICS = (*SERVICE.topics, ORDERS_ORDER, INVENTORY_STOCK, CATALOG_PRODUCT)

_KEYS = FixedKeys(
    {
        "storefront-key": Principal("storefront", frozenset({"behaviour:write", "recommendations:read"})),
        "warehouse-key": Principal("warehouse", frozenset({"stock:write"})),
    }
)


@dataclass(frozen=True)
class RunningRecommender:
    """How a test speaks to it."""

    client: httpx.AsyncClient
    bus: TestBus
    database: FreshDatabase

    async def recommend(self, **question: str | int) -> dict[str, Any]:
        response = await self.client.get("/v1/recommendations", params=question)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def recommended(self, **question: str | int) -> list[str]:
        return [item["sku"] for item in (await self.recommend(**question))["items"]]


@asynccontextmanager
async def running_recommender(
    infrastructure: Infrastructure, database: FreshDatabase, *, has_consumer: bool = True
) -> AsyncIterator[RunningRecommender]:
    async with TestBus.open(infrastructure, topics=TOPICS, groups=SERVICE.groups) as bus:
        settings = settings_for(database, bootstrap_servers=bus.bootstrap_servers, topic_prefix=bus.topic_prefix)
        consumer = Consumer(
            behaviour_subscription(PostgresCounts),
            service="recommender",
            database=database,
            bootstrap_servers=bus.bootstrap_servers,
            topic_prefix=bus.topic_prefix,
            clock=SystemClock(),
        )
        async with running_api(settings, database, [consumer] if has_consumer else []) as client:
            await eventually(lambda: client.get("/readyz"), lambda answer: answer.status_code == 200)
            yield RunningRecommender(client, bus, database)


def settings_for(database: FreshDatabase, *, bootstrap_servers: str, topic_prefix: str = "") -> RecommenderSettings:
    return RecommenderSettings(
        database_url=SecretStr(database.url),
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_topic_prefix=topic_prefix,
        port=0,
        api_keys_file=Path("unused"),
        counts_age_seconds_max=0,
        intake_timeout_seconds=30.0,
        shutdown_timeout_seconds=5.0,
    )


@asynccontextmanager
async def running_api(
    settings: RecommenderSettings, database: FreshDatabase, more: Sequence[Component] = ()
) -> AsyncIterator[httpx.AsyncClient]:
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    components = build_api(
        settings, database, Health(), SystemClock(), authenticator=_KEYS, on_listening=port.set_result
    )
    async with asyncio.TaskGroup() as group:
        for component in (*components, *more):
            group.create_task(component.run(stop))
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{await port}",
                headers={"Authorization": "Bearer storefront-key"},
                timeout=60,
                trust_env=False,
            ) as client:
                yield client
        finally:
            stop.set()
