"""What the services say about their APIs is complete, and nobody is let in by accident."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.http.keys import issue_key
from libs.common.runtime import HttpServer, Service
from services.catalog.bootstrap import SERVICE as CATALOG
from services.inventory.bootstrap import SERVICE as INVENTORY
from services.logistics.bootstrap import SERVICE as LOGISTICS
from services.orders.bootstrap import SERVICE as ORDERS
from services.recommender.bootstrap import SERVICE as RECOMMENDER

SERVICES: tuple[Service[Any], ...] = (CATALOG, INVENTORY, ORDERS, RECOMMENDER, LOGISTICS)
METHODS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture(params=SERVICES, ids=lambda service: service.name)
async def document(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """Make the OpenAPI document of a service from its composition root; nothing connects."""
    service: Service[Any] = request.param
    keys = tmp_path / "keys.json"
    issue_key(keys, name="anybody", scopes=("*",), environment="test", expires_at=None)
    settings = service.settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"), api_keys_file=keys)
    process = service.build(settings, frozenset({"api"}))
    [app] = [one.app for one in process.components if isinstance(one, HttpServer)]
    assert isinstance(app, FastAPI)
    return app.openapi()


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


# What comes from somebody who has no key of ours, and proves itself by a signature over the body.
SIGNED_BY_THE_SENDER = {"post /v1/payment-webhooks/{provider}"}


class TestOpenApi:
    def test_names_every_operation_once(self, document: Mapping[str, Any]) -> None:
        names = Counter(operation["operationId"] for _, _, operation in operations(document))

        assert [name for name, count in names.items() if count > 1] == []

    def test_describes_every_operation(self, document: Mapping[str, Any]) -> None:
        silent = [
            f"{method} {path}"
            for path, method, operation in operations(document)
            if not (operation.get("description") or operation.get("summary"))
        ]

        assert silent == []

    def test_demands_a_key_for_everything_under_v1(self, document: Mapping[str, Any]) -> None:
        open_to_all = [
            f"{method} {path}"
            for path, method, operation in operations(document)
            if path.startswith("/v1/") and not operation.get("security")
        ]

        assert set(open_to_all) <= SIGNED_BY_THE_SENDER

    def test_answers_errors_as_problems(self, document: Mapping[str, Any]) -> None:
        without = [
            f"{method} {path}"
            for path, method, operation in operations(document)
            if path.startswith("/v1/")
            and not any("application/problem+json" in one.get("content", {}) for one in operation["responses"].values())
        ]

        assert without == []
