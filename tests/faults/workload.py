"""A small shop's day, told to the services by clients that never give up and write everything down."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import msgspec

from deploy.local.stack import Addresses
from libs.common.clock import Clock
from tests.faults.history import Attempt, History
from tests.support.eventually import eventually

CHANNEL = "faults"
CURRENCY = "GBP"
PRICE_MINOR = 500
SKUS = tuple(f"FAULT-{number:03}" for number in range(40))
# Never enough of it: what waits for goods, and what is refused, happens here.
SCARCE_SKU = "FAULT-SCARCE"
WAREHOUSES = {"NORTH": (54.9, -1.6), "SOUTH": (50.8, -1.1)}
OPENING_UNITS = 20_000

# How the sandbox provider treats an order, and how many of a hundred.
_TOKENS = {"tok_ok": 80, "tok_declined": 4, "tok_timeout": 5, "tok_late": 5, "tok_capture_timeout": 6}
_OPERATIONS = {"order": 50, "stock": 16, "hold": 16, "cancel": 9, "return": 9, "edit": 5, "transfer": 4, "action": 3}

_TIMEOUT_SECONDS = 20.0
# A server may be away for a minute, and everything behind it needs its time.
_PATIENCE_SECONDS = 150.0
_RETRY_SECONDS_MIN = 0.1
_RETRY_SECONDS_MAX = 2.0
_CONNECTIONS_MAX = 64
_REPEATED_RATIO = 0.08
# Of orders, those that add up to something else than they say, and are refused.
_MISTAKEN_RATIO = 0.02
# What operators do: to most orders there is nothing to retry, and few are past being ended.
_ACTIONS = {"retry": 1, "force-compensate": 2}
# How long somebody waits for an order to be confirmed before it is edited as it is.
_LOOKS_MAX = 60
_LOOK_SECONDS = 0.05
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_SHIPPED = frozenset({"shipped", "delivered", "settled"})
_ADDRESS = {"country": "GB", "latitude": 51.5, "longitude": -0.1}
# Further north, where the other warehouse is the nearer one.
_OTHER_ADDRESS = {"country": "GB", "latitude": 54.6, "longitude": -1.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One thing that a client wants done once, however often it has to ask."""

    operation: str
    key: str
    service: str
    caller: str
    path: str
    body: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    if_match: str = ""


class Clients:
    """The callers of the services; each attempt goes into the history."""

    def __init__(self, addresses: Addresses, history: History, clock: Clock) -> None:
        """Connect nothing yet."""
        self._addresses = addresses
        self._history = history
        self._clock = clock
        self._exits = AsyncExitStack()
        self._encoder = msgspec.json.Encoder()
        self.gave_up: list[str] = []

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_CONNECTIONS_MAX)
        self._client = await self._exits.enter_async_context(
            httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False)
        )
        # Those who only read must not wait for a connection of those who write.
        self._readers = await self._exits.enter_async_context(
            httpx.AsyncClient(limits=httpx.Limits(max_connections=500, max_keepalive_connections=8), trust_env=False)
        )
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._exits.__aexit__(exception_type, exception, traceback)

    def headers(self, caller: str) -> dict[str, str]:
        """Return what makes a request this caller's; the key is read each time, so that it may be rotated."""
        return {"Authorization": f"Bearer {(self._addresses.keys / caller).read_text('utf-8').strip()}"}

    async def get(
        self, service: str, path: str, *, caller: str = "ops", timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> httpx.Response:
        """Read once, without patience."""
        return await self._readers.get(
            f"{self._addresses.service_urls[service]}{path}", headers=self.headers(caller), timeout=timeout_seconds
        )

    async def put(self, service: str, path: str, body: Mapping[str, Any], *, caller: str = "ops") -> None:
        """Replace something, once; whatever is not accepted raises."""
        url = f"{self._addresses.service_urls[service]}{path}"
        (await self._client.put(url, headers=self.headers(caller), json=body)).raise_for_status()

    async def attempt(self, wish: Wish) -> Attempt:
        """Ask once, and write down what came of it."""
        headers = self.headers(wish.caller) | {"Idempotency-Key": wish.key}
        if wish.if_match:
            headers["If-Match"] = wish.if_match
        content: bytes = self._encoder.encode(wish.body)
        if wish.rows:
            headers["Content-Type"] = "application/x-ndjson"
            content = self._encoder.encode_lines(list(wish.rows))
        else:
            headers["Content-Type"] = "application/json"
        sent_at = self._clock.monotonic_seconds()
        status, error, answer = 0, "", {}
        try:
            response = await self._client.post(
                f"{self._addresses.service_urls[wish.service]}{wish.path}", content=content, headers=headers
            )
            status, answer = response.status_code, _json(response)
        except httpx.HTTPError as problem:
            error = repr(problem)
        attempt = Attempt(
            operation=wish.operation,
            key=wish.key,
            sent_at=sent_at,
            ended_at=self._clock.monotonic_seconds(),
            status=status,
            error=error,
            request={"path": wish.path, **(wish.body if not wish.rows else {"rows": list(wish.rows)})},
            answer=answer,
        )
        self._history.note(attempt)
        return attempt

    async def upload(self, wish: Wish, is_under_way: asyncio.Event, is_dead: asyncio.Event) -> None:
        """Send half of a wish's rows, say so, and the other half to whoever is there by then."""
        rows = self._encoder.encode_lines(list(wish.rows))

        async def halves() -> AsyncIterator[bytes]:
            yield rows[: len(rows) // 2]
            is_under_way.set()
            await is_dead.wait()
            yield rows[len(rows) // 2 :]

        headers = self.headers(wish.caller) | {"Idempotency-Key": wish.key, "Content-Type": "application/x-ndjson"}
        try:
            with suppress(httpx.HTTPError):
                url = f"{self._addresses.service_urls[wish.service]}{wish.path}"
                await self._client.post(url, content=halves(), headers=headers)
        finally:
            # Also if it never came so far.
            is_under_way.set()

    async def insist(self, wish: Wish) -> Attempt:
        """Ask under the same key until there is a yes or a no."""
        gives_up_at = self._clock.monotonic_seconds() + _PATIENCE_SECONDS
        delay_seconds = _RETRY_SECONDS_MIN
        while True:
            attempt = await self.attempt(wish)
            if not is_passing(attempt):
                return attempt
            if self._clock.monotonic_seconds() > gives_up_at:
                self.gave_up.append(f"{wish.operation} {wish.key}: {attempt.status} {attempt.error}")
                return attempt
            await asyncio.sleep(delay_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            delay_seconds = min(2 * delay_seconds, _RETRY_SECONDS_MAX)


def is_passing(attempt: Attempt) -> bool:
    """Whether the same request may be answered otherwise later."""
    return attempt.status == 0 or attempt.status in _RETRIED or attempt.answer.get("retryable") is True


class Workload:
    """Orders and what becomes of them, goods, holds and operators, at a rate, until it is told to pause."""

    def __init__(self, clients: Clients, *, seed: int, operations_per_second: float, under_way_max: int = 48) -> None:
        """`seed` decides what is wanted; what comes of it is decided by the faults."""
        self._clients = clients
        self._random = random.Random(seed)  # noqa: S311 - it is to be predictable
        self._interval_seconds = 1.0 / operations_per_second
        self._under_way = asyncio.Semaphore(under_way_max)
        self._flowing = asyncio.Event()
        self._number = 0
        self._order_ids: list[str] = []
        self._holds: list[str] = []
        self._returned: set[str] = set()
        self.busy = 0
        self.counts: Counter[str] = Counter()

    async def prepare(self) -> None:
        """List the products, open the warehouses and fill them."""
        await self._accept(
            Wish(
                operation="categories", key="categories", service="catalog", caller="ops",
                path="/v1/categories/import", body={}, rows=[{"code": "faults", "name": "Faults"}],
            )
        )  # fmt: skip
        products = [
            {
                "sku": sku, "title": sku.title(), "category": "faults",
                "price_minor": PRICE_MINOR, "currency": CURRENCY, "attributes": {},
            }
            for sku in (*SKUS, SCARCE_SKU)
        ]  # fmt: skip
        await self._accept(
            Wish(
                operation="products", key="products", service="catalog", caller="ops",
                path="/v1/products/import", body={}, rows=products,
            )
        )  # fmt: skip
        for code, (latitude, longitude) in WAREHOUSES.items():
            site = {"name": code.title(), "country": "GB", "latitude": latitude, "longitude": longitude}
            await self._clients.put("inventory", f"/v1/warehouses/{code}", site)
        opening = [self._receipt(sku, code, OPENING_UNITS) for sku in SKUS for code in WAREHOUSES]
        await self._accept(self._stock_wish(opening))

    async def run(self) -> None:
        """Go on until cancelled; requests under way are left to end by themselves at `pause`."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._flowing.wait()
                await self._under_way.acquire()
                group.create_task(self._one())
                await asyncio.sleep(self._interval_seconds)

    def flow(self) -> None:
        """Begin, or go on."""
        self._flowing.set()

    async def pause(self) -> None:
        """Want nothing more, and wait until everything that was asked has been answered."""
        self._flowing.clear()
        await eventually(self._is_idle, timeout_seconds=_PATIENCE_SECONDS + _TIMEOUT_SECONDS)

    async def place_order(self, lines: Mapping[str, int], *, token: str = "tok_ok", hold_id: str = "") -> Attempt:  # noqa: S107 - the name of a sandbox behaviour
        """Place one order of `lines`, units by SKU, and insist."""
        attempt = await self._clients.insist(self.order_wish(lines, token=token, hold_id=hold_id))
        if attempt.is_accepted:
            self._order_ids.append(attempt.answer["id"])
        return attempt

    def order_wish(self, lines: Mapping[str, int], *, token: str = "tok_ok", hold_id: str = "") -> Wish:  # noqa: S107 - the name of a sandbox behaviour
        """Return the wish for an order, under a key of its own."""
        key = self._key("order")
        return Wish(
            operation="order",
            key=key,
            service="orders",
            caller="storefront",
            path="/v1/orders",
            body={
                "customer_id": f"customer-{self._number % 500}",
                "channel": CHANNEL,
                "reference": key,
                "currency": CURRENCY,
                "lines": [
                    {"sku": sku, "quantity": quantity, "unit_price_minor": PRICE_MINOR}
                    for sku, quantity in lines.items()
                ],
                "ship_to": _ADDRESS,
                "payment": {"token": token},
                **({"hold_id": hold_id} if hold_id else {}),
            },
        )

    def hold_wish(self, lines: Mapping[str, int], *, ttl_seconds: int) -> Wish:
        """Return the wish to hold units."""
        return Wish(
            operation="hold",
            key=self._key("hold"),
            service="inventory",
            caller="storefront",
            path="/v1/reservations",
            body={
                "reservation_id": str(self._uuid()),
                "channel": CHANNEL,
                "ttl_seconds": ttl_seconds,
                "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()],
            },
        )

    def stock_wish(self, deliveries: Sequence[tuple[str, str, int]]) -> Wish:
        """Return the wish to report goods received: SKU, warehouse, units."""
        return self._stock_wish([self._receipt(*delivery) for delivery in deliveries])

    async def _is_idle(self) -> bool:
        return not self.busy

    async def _one(self) -> None:
        self.busy += 1
        try:
            [operation] = self._random.choices(list(_OPERATIONS), list(_OPERATIONS.values()))
            steps: dict[str, Callable[[], Awaitable[None]]] = {
                "order": self._order,
                "stock": self._stock,
                "hold": self._hold,
                "cancel": self._cancel,
                "return": self._return,
                "edit": self._edit,
                "transfer": self._transfer,
                "action": self._act,
            }
            # A read that finds nobody is nothing to write down: the wish comes again.
            with suppress(httpx.HTTPError):
                await steps[operation]()
            self.counts[operation] += 1
        finally:
            self.busy -= 1
            self._under_way.release()

    async def _order(self) -> None:
        [token] = self._random.choices(list(_TOKENS), list(_TOKENS.values()))
        hold_id = self._holds.pop() if self._holds and self._random.random() < 0.3 else ""
        lines = {sku: self._random.randint(1, 3) for sku in self._random.sample(SKUS, self._random.randint(1, 3))}
        if self._random.random() < 0.05:
            lines[SCARCE_SKU] = 1
        wish = self.order_wish(lines, token=token, hold_id=hold_id)
        if self._random.random() < _MISTAKEN_RATIO:
            wish = replace(wish, body={**wish.body, "total_minor": 1})
        attempt = await self._clients.insist(wish)
        if attempt.is_accepted:
            self._order_ids.append(attempt.answer["id"])
            await self._perhaps_again(wish)

    async def _stock(self) -> None:
        skus = self._random.sample(SKUS, self._random.randint(1, 4))
        rows = [(sku, self._random.choice(list(WAREHOUSES)), self._random.randint(1, 20)) for sku in skus]
        if self._random.random() < 0.1:
            rows.append((SCARCE_SKU, "NORTH", 1))
        wish = self.stock_wish(rows)
        if (await self._clients.insist(wish)).is_accepted:
            await self._perhaps_again(wish)

    async def _hold(self) -> None:
        lines = {sku: self._random.randint(1, 2) for sku in self._random.sample(SKUS, 2)}
        wish = self.hold_wish(lines, ttl_seconds=self._random.choice((2, 5, 10)))
        attempt = await self._clients.insist(wish)
        if not attempt.is_accepted:
            return
        await self._perhaps_again(wish)
        hold_id = str(wish.body["reservation_id"])
        # A third is let go, a third is left to expire, a third becomes an order.
        match self._random.randrange(3):
            case 0:
                await self._clients.insist(
                    Wish(
                        operation="release", key=self._key("release"), service="inventory", caller="storefront",
                        path=f"/v1/reservations/{hold_id}/release", body={},
                    )
                )  # fmt: skip
            case 1:
                self._holds.append(hold_id)
            case _:
                pass

    async def _cancel(self) -> None:
        if not self._order_ids:
            return
        order_id = self._mostly_fresh()
        wish = Wish(
            operation="cancel",
            key=self._key("cancel"),
            service="orders",
            caller="storefront",
            path=f"/v1/orders/{order_id}/cancellation",
            body={"reason": "changed my mind"},
        )
        if (await self._clients.insist(wish)).is_accepted:
            await self._perhaps_again(wish)

    async def _edit(self) -> None:
        lines = {sku: self._random.randint(1, 3) for sku in self._random.sample(SKUS, 2)}
        placed = await self.place_order(lines)
        if not placed.is_accepted:
            return
        path = f"/v1/orders/{placed.answer['id']}"
        # At once, or when goods are held and paid for, and a parcel is about to leave.
        is_patient = self._random.random() < 0.7
        answer = await self._clients.get("orders", path)
        for _ in range(_LOOKS_MAX if is_patient else 0):
            if _json(answer).get("status") == "confirmed":
                break
            await asyncio.sleep(_LOOK_SECONDS)
            answer = await self._clients.get("orders", path)
        if answer.status_code != HTTPStatus.OK:
            return
        key = self._key("edit")
        wish = Wish(
            operation="edit",
            key=key,
            service="orders",
            caller="storefront",
            path=f"{path}/edits",
            body={"reason": key, **self._change(_json(answer))},
            if_match=answer.headers["ETag"],
        )
        if (await self._clients.insist(wish)).is_accepted:
            await self._perhaps_again(wish)

    def _change(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a customer wants to be different: more, less, something else besides, or somewhere else."""
        line = order["lines"][-1]
        match self._random.randrange(4):
            case 0:
                return {"lines": [{"line": line["line"], "quantity": line["quantity"] + 1}]}
            case 1:
                fewer = 0 if len(order["lines"]) > 1 else max(1, line["quantity"] - 1)
                return {"lines": [{"line": line["line"], "quantity": fewer}]}
            case 2:
                sku = self._random.choice(SKUS)
                return {"add": [{"sku": sku, "quantity": 1, "unit_price_minor": PRICE_MINOR}]}
            case _:
                return {"ship_to": _OTHER_ADDRESS}

    async def _transfer(self) -> None:
        source, destination = self._random.sample(list(WAREHOUSES), 2)
        lines = [{"sku": sku, "quantity": self._random.randint(1, 5)} for sku in self._random.sample(SKUS, 2)]
        proposed = await self._step("transfer", "/v1/transfers", source=source, destination=destination, lines=lines)
        if not proposed.is_accepted:
            return
        path = f"/v1/transfers/{proposed.answer['id']}"
        for step in ("approve", "dispatch", "receive"):
            if not (await self._step(f"transfer-{step}", f"{path}/{step}")).is_accepted:
                return

    async def _step(self, operation: str, path: str, **body: Any) -> Attempt:
        wish = Wish(
            operation=operation, key=self._key(operation), service="inventory", caller="ops", path=path, body=body
        )
        attempt = await self._clients.insist(wish)
        if attempt.is_accepted:
            await self._perhaps_again(wish)
        return attempt

    async def _act(self) -> None:
        if not self._order_ids:
            return
        key = self._key("action")
        [action] = self._random.choices(list(_ACTIONS), list(_ACTIONS.values()))
        wish = Wish(
            operation="action",
            key=key,
            service="orders",
            caller="ops",
            path=f"/v1/orders/{self._mostly_fresh()}/actions",
            # The reason is found again in what is written down.
            body={"action": action, "reason": key},
        )
        if (await self._clients.insist(wish)).is_accepted:
            await self._perhaps_again(wish)

    def _mostly_fresh(self) -> str:
        """Return an order that mostly has not left yet."""
        return self._order_ids[-1] if self._random.random() < 0.6 else self._random.choice(self._order_ids)

    async def _return(self) -> None:
        # Old enough to have arrived, young enough to be taken back.
        candidates = [one for one in self._order_ids[:-60][-400:] if one not in self._returned]
        if not candidates:
            return
        order_id = self._random.choice(candidates)
        answer = await self._clients.get("orders", f"/v1/orders/{order_id}")
        order = _json(answer)
        if answer.status_code != HTTPStatus.OK or order["status"] not in _SHIPPED or not order["shipments"]:
            return
        self._returned.add(order_id)
        line = order["lines"][0]
        announced = await self._clients.insist(
            Wish(
                operation="return",
                key=self._key("return"),
                service="orders",
                caller="storefront",
                path=f"/v1/orders/{order_id}/returns",
                body={"reason": "too large", "lines": [{"sku": line["sku"], "quantity": 1}]},
            )
        )
        if not announced.is_accepted:
            return
        await self._clients.insist(
            Wish(
                operation="receipt",
                key=self._key("receipt"),
                service="orders",
                caller="warehouse",
                path=f"/v1/returns/{announced.answer['id']}/receipt",
                body={
                    "warehouse": order["shipments"][0]["warehouse"],
                    "lines": [{"sku": line["sku"], "quantity": 1, "restock_quantity": self._random.randrange(2)}],
                },
            )
        )

    async def _perhaps_again(self, wish: Wish) -> None:
        """Ask once more for what was done, as a client that lost the answer does."""
        if self._random.random() < _REPEATED_RATIO:
            await self._clients.attempt(wish)

    async def _accept(self, wish: Wish) -> None:
        attempt = await self._clients.insist(wish)
        assert attempt.is_accepted, attempt
        assert not attempt.answer.get("rejected"), attempt

    def _stock_wish(self, rows: Sequence[Mapping[str, Any]]) -> Wish:
        return Wish(
            operation="stock-events",
            key=self._key("stock"),
            service="inventory",
            caller="warehouse",
            path="/v1/stock-events",
            body={},
            rows=rows,
        )

    def _receipt(self, sku: str, warehouse: str, quantity: int) -> dict[str, Any]:
        return {
            "id": str(self._uuid()),
            "type": "goods.received",
            "sku": sku,
            "warehouse": warehouse,
            "occurred_at": datetime(2026, 1, 5, 9, tzinfo=UTC).isoformat(),
            "quantity": quantity,
        }

    def _key(self, operation: str) -> str:
        self._number += 1
        return f"faults-{operation}-{self._number:06}"

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json() if response.content else {}
    except ValueError:
        body = {}
    return body if isinstance(body, dict) else {}
