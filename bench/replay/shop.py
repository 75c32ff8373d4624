"""The shop's systems as the replay calls them: a storefront, a warehouse and an operator."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from bench.replay.api import Answer, Api
from bench.replay.facts import Sale
from bench.replay.geography import WarehouseSite
from bench.replay.matching import GoodsBack
from bench.replay.payloads import (
    behaviour_event,
    category_row,
    idempotency_key,
    ndjson,
    order_body,
    product_row,
    receipt_body,
    return_body,
    stock_event,
    warehouse_body,
)
from bench.replay.products import Category, Product
from bench.replay.settings import ReplaySettings
from bench.replay.supply import Delivery
from bench.replay.views import View

Item = TypeVar("Item")

# Some 100 KiB a request: large enough that requests are few, far below what a service accepts.
BATCH_ROWS = 500

_ERRORS_SHOWN_MAX = 3


class RowsRejected(Exception):
    """A bulk request was answered, but some of its rows were refused."""

    def __init__(self, path: str, answer: Mapping[str, Any]) -> None:
        """Show the first few of the answer's errors."""
        errors = answer.get("errors", [])[:_ERRORS_SHOWN_MAX]
        super().__init__(f"{path}: {answer['rejected']} rows rejected: {errors}")


@dataclass(frozen=True, slots=True)
class OrderState:
    """What the replay needs to know of an order."""

    id: str
    status: str
    warehouses: tuple[str, ...]


class Shop:
    """The five services under the three keys; open for the length of the replay."""

    def __init__(
        self,
        settings: ReplaySettings,
        *,
        dataset: str,
        is_faultless: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Every effect is caused under a key or an id that carries `dataset`."""

        def api(url: str, caller: str) -> Api:
            return Api(url, key=settings.key(caller), transport=transport)

        self._dataset = dataset
        self._is_faultless = is_faultless
        self._catalog = api(settings.catalog_url, "ops")
        self._stock = api(settings.inventory_url, "warehouse")
        self._sites = api(settings.inventory_url, "ops")
        self._orders = api(settings.orders_url, "storefront")
        self._returns = api(settings.orders_url, "warehouse")
        self._reviews = api(settings.orders_url, "ops")
        self._behaviour = api(settings.recommender_url, "storefront")
        self._apis = (
            self._catalog,
            self._stock,
            self._sites,
            self._orders,
            self._returns,
            self._reviews,
            self._behaviour,
        )
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for api in self._apis:
            await self._exits.enter_async_context(api)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exits.__aexit__(exception_type, exception, traceback)

    @property
    def retries(self) -> int:
        """Return how many requests were sent again."""
        return sum(api.retries for api in self._apis)

    async def list_categories(self, categories: Iterable[Category]) -> None:
        """Put up the shelves."""
        await _send_rows(self._catalog, "/v1/categories/import", list(map(category_row, categories)))

    async def list_products(self, products: Sequence[Product], *, done: Callable[[int], None]) -> None:
        """Put the products on them."""
        await _in_batches(
            products,
            lambda batch: _send_rows(self._catalog, "/v1/products/import", list(map(product_row, batch))),
            done=done,
        )

    async def open_warehouse(self, site: WarehouseSite) -> None:
        """Register a warehouse."""
        await self._sites.put(f"/v1/warehouses/{site.code}", body=warehouse_body(site))

    async def receive_goods(self, deliveries: Sequence[Delivery], *, done: Callable[[int], None]) -> None:
        """Report goods as the warehouses do."""
        await _in_batches(
            deliveries,
            lambda batch: _send_rows(
                self._stock,
                "/v1/stock-events",
                [stock_event(self._dataset, delivery) for delivery in batch],
            ),
            done=done,
        )

    async def show_products(self, views: Sequence[View], *, done: Callable[[int], None]) -> None:
        """Report what visitors looked at."""
        await _in_batches(
            views,
            lambda batch: _send_rows(
                self._behaviour,
                "/v1/behaviour-events",
                [behaviour_event(self._dataset, view) for view in batch],
            ),
            done=done,
        )

    async def place_order(self, sale: Sale) -> str:
        """Place an order and return its id."""
        answer = await self._orders.post(
            "/v1/orders",
            body=order_body(self._dataset, sale, is_faultless=self._is_faultless),
            idempotency_key=self._key(sale.invoice),
        )
        order_id = str(answer.body["id"])
        if self._is_faultless and answer.body["status"] == "held":
            # The data says that it was sold: whoever looked at it let it through.
            await self._reviews.post(
                f"/v1/reviews/{order_id}/approve",
                body={"reason": "sold, as the data set says"},
                idempotency_key=self._key(sale.invoice, "approve"),
            )
        return order_id

    async def order(self, order_id: str) -> OrderState:
        """Look at an order."""
        return _state(await self._orders.get(f"/v1/orders/{order_id}"))

    async def cancel_order(self, order_id: str, goods_back: GoodsBack) -> OrderState:
        """
        Call an order off.

        :raises Refused: if it has shipped.
        """
        return _state(
            await self._orders.post(
                f"/v1/orders/{order_id}/cancellation",
                body={"reason": f"cancelled by invoice {goods_back.cancellation}"},
                idempotency_key=self._key(goods_back.cancellation, goods_back.sale, "cancel"),
            )
        )

    async def return_goods(self, order: OrderState, goods_back: GoodsBack) -> None:
        """
        Send goods of a shipped order back to where they came from, which refunds them.

        :raises Refused: if they were returned before.
        """
        names = (goods_back.cancellation, goods_back.sale)
        answer = await self._orders.post(
            f"/v1/orders/{order.id}/returns",
            body=return_body(goods_back),
            idempotency_key=self._key(*names, "return"),
        )
        await self._returns.post(
            f"/v1/returns/{answer.body['id']}/receipt",
            body=receipt_body(self._dataset, goods_back, warehouse=order.warehouses[0]),
            idempotency_key=self._key(*names, "receipt"),
        )

    def _key(self, *names: str) -> str:
        return idempotency_key(self._dataset, *names)


def _state(answer: Answer) -> OrderState:
    return OrderState(
        id=str(answer.body["id"]),
        status=str(answer.body["status"]),
        warehouses=tuple(shipment["warehouse"] for shipment in answer.body["shipments"]),
    )


async def _send_rows(api: Api, path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    answer = await api.post_ndjson(path, content=ndjson(rows))
    if answer.body["rejected"]:
        raise RowsRejected(path, answer.body)


async def _in_batches(
    items: Iterable[Item],
    send: Callable[[list[Item]], Awaitable[None]],
    *,
    done: Callable[[int], None],
) -> None:
    for batch in _batches(items):
        await send(batch)
        done(len(batch))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH_ROWS)):
        yield batch
