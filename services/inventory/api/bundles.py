"""Bundles over HTTP."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.common.db import Transaction
from libs.common.http.auth import requires
from services.inventory.api.dependencies import UseCases
from services.inventory.domain.bundles import COMPONENT_UNITS_MAX, COMPONENTS_MAX, BundleNotFound
from services.inventory.domain.plausibility import SKU_CHARACTERS_MAX
from services.inventory.handlers.bundles import put_bundle, remove_bundle

_TEXT = r"^[^\x00-\x1f\x7f]+$"

Sku = Annotated[str, Path(min_length=1, max_length=SKU_CHARACTERS_MAX, pattern=_TEXT)]


class Component(BaseModel):
    """Units of a SKU in one bundle."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sku: str = Field(min_length=1, max_length=SKU_CHARACTERS_MAX, pattern=_TEXT)
    quantity: int = Field(ge=1, le=COMPONENT_UNITS_MAX)


class BundleBody(BaseModel):
    """What a bundle is made of."""

    model_config = ConfigDict(extra="forbid", strict=True)

    components: list[Component] = Field(min_length=1, max_length=COMPONENTS_MAX)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if len({one.sku for one in self.components}) < len(self.components):
            message = "each component is named once"
            raise ValueError(message)
        return self


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of bundles."""
    router = APIRouter(prefix="/v1")
    database, tools_of, views_of = use_cases.database, use_cases.tools_of, use_cases.views_of

    @router.put("/bundles/{sku}", dependencies=[requires("stock:manage")])
    async def define(sku: Sku, body: BundleBody) -> BundleBody:
        """Make a SKU a bundle, or change what it is made of; saying the same again changes nothing."""
        components = {one.sku: one.quantity for one in body.components}

        async def work(transaction: Transaction) -> None:
            await put_bundle(sku, components, tools=tools_of(transaction))

        await database.run(work)
        return body

    @router.get("/bundles/{sku}", dependencies=[requires("stock:read")])
    async def show_bundle(sku: Sku) -> BundleBody:
        """Show what a bundle is made of."""

        async def work(transaction: Transaction) -> Mapping[str, int]:
            return await views_of(transaction).components(sku)

        components = await database.run(work)
        if not components:
            raise BundleNotFound("This SKU is no bundle.")
        return BundleBody(
            components=[Component(sku=part, quantity=units) for part, units in sorted(components.items())]
        )

    @router.delete("/bundles/{sku}", dependencies=[requires("stock:manage")], status_code=HTTPStatus.NO_CONTENT)
    async def dissolve(sku: Sku) -> None:
        """Make a bundle a SKU like any other; what is reserved already stays as it was."""

        async def work(transaction: Transaction) -> None:
            await remove_bundle(sku, tools=tools_of(transaction))

        await database.run(work)

    return router
