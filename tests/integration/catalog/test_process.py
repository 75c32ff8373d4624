"""The whole service in one process: from an HTTP request to an event on the bus."""

import asyncio
from pathlib import Path

import httpx

from deploy.local.ports import free_ports
from libs.common.events.topics import CATALOG_PRODUCT
from libs.common.http.keys import issue_key
from libs.common.runtime import run_process
from services.catalog.bootstrap import SERVICE
from services.catalog.settings import CatalogSettings
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase


class TestProcess:
    async def test_publishes_what_was_committed_and_stops_cleanly(
        self, infrastructure: Infrastructure, database: FreshDatabase, tmp_path: Path
    ) -> None:
        keys = tmp_path / "keys.json"
        key = issue_key(keys, name="editor", scopes=["catalog:write", "catalog:read"])
        port = free_ports(["api"])["api"].number
        stop = asyncio.Event()
        async with TestBus.open(infrastructure, topics=SERVICE.topics) as bus:
            settings = CatalogSettings.model_validate(
                {
                    "database_url": database.url,
                    "kafka_bootstrap_servers": bus.bootstrap_servers,
                    "kafka_topic_prefix": bus.topic_prefix,
                    "api_keys_file": keys,
                    "port": port,
                }
            )
            process = SERVICE.build(settings, frozenset(SERVICE.roles))
            async with (
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}",
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=60,
                    trust_env=False,
                ) as http,
                asyncio.TaskGroup() as group,
            ):
                running = group.create_task(run_process(process, stop, service=SERVICE.name, settings=settings))
                await eventually(lambda: is_ready(http))
                for price in (500, 600, 600):
                    body = {"title": "Amber lamp", "price_minor": price, "currency": "GBP"}
                    (await http.put("/v1/products/AMBER-LAMP", json=body)).raise_for_status()

                envelopes = await eventually(lambda: bus.read_all(CATALOG_PRODUCT), lambda read: len(read) > 1)
                metrics = (await http.get("/metrics")).text
                stop.set()
                await running

        assert [(one.event.type, one.aggregate_version) for one in envelopes] == [
            ("product.listed", 1),
            ("product.price-changed", 2),
        ]
        assert 'catalog_product_changes_total{change="price-changed"}' in metrics
        assert process.health.stopping


async def is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == httpx.codes.OK
    except httpx.ConnectError:
        return False
