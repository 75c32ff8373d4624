"""A customer is forgotten while who has to forget dies, and everything is read again afterwards."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from libs.common.events.topics import ALL_TOPICS
from tests.faults.arena import RECOVERY_SECONDS_MAX, Arena
from tests.faults.bus import read_everything, rewind
from tests.faults.checker import READERS
from tests.faults.matrix import expect, row
from tests.faults.workload import SKUS
from tests.support.canaries import records_with, tables_with
from tests.support.eventually import NeverHappened, eventually

_CANARY: Final = "zebulon"
_CUSTOMER: Final = "Zebulon of the lighthouse"
# Orders of another channel than the shop's: what is kept of them is not what their caller remembers.
_CHANNEL: Final = "erasure"
_ORDERS: Final = 4
_OVER: Final = "SELECT count(*) FROM orders WHERE channel = 'erasure' AND status IN ('settled', 'refused', 'cancelled')"
_ERASING: Final = {
    "inventory-consumer": "inventory.reservations",
    "logistics-consumer": "logistics.planning",
    "recommender-consumer": "recommender.behaviour",
}
_DATABASES: Final = ("catalog", "inventory", "orders", "logistics", "recommender")


@row(
    "F64",
    "a customer is erased while consumers die, and every topic is read again",
    expects="every service answers; the customer is nowhere, neither then nor afterwards",
    shows=("I3", "I4", "I5", "I11"),
)
async def erased(arena: Arena) -> str:
    async with _operator(arena) as operator:
        await _live(arena, operator)
        found = await _places(arena)
        expect(any(place.startswith("orders.") for place in found), "the canary is not even where it should be")
        supervisor = arena.stack.supervisor
        traps = {name: f"consumer.before-commit[{group}]=exit@2" for name, group in _ERASING.items()}
        await asyncio.gather(
            *(arena.stack.restart(name, {"QUAYSIDE_FAILPOINTS": trap}) for name, trap in traps.items())
        )
        before = {name: supervisor.restarts(name) for name in traps}
        answer = await operator.post(f"/v1/customers/{_CUSTOMER}/erasure", json={"reason": "fault"})
        expect(answer.status_code == httpx.codes.ACCEPTED, f"not accepted: {answer.text}")

        async def deaths() -> list[int]:
            return [supervisor.restarts(name) - before[name] for name in traps]

        try:
            died = await eventually(deaths, lambda counts: min(counts) > 0, timeout_seconds=RECOVERY_SECONDS_MAX)
        finally:
            await asyncio.gather(*(arena.stack.restart(name) for name in traps))

        async def state() -> dict[str, Any]:
            with suppress(httpx.HTTPError):
                return dict((await operator.get(f"/v1/customers/{_CUSTOMER}/erasure")).json())
            return {}

        done = await eventually(state, lambda one: one.get("status") == "done", timeout_seconds=RECOVERY_SECONDS_MAX)
        left = await _left(arena)
        expect(not left, f"erased, but found in {sorted(left)}")
        async with arena.nemesis.stopped(*_ERASING):
            for group in _ERASING.values():
                await rewind(arena.bootstrap_servers, group, [topic.name for topic in READERS[group]])
        await arena.until("orders", "SELECT 1")
        left = await _left(arena)
        expect(not left, f"read again, and found in {sorted(left)}")
    rows = {one["service"]: one["rows"] for one in done["services"]}
    return f"{sum(died)} deaths; {done['orders']} orders; rows by service {rows}"


async def _left(arena: Arena) -> set[str]:
    """Return where the customer is found once days that were being summed up have been summed up anew."""
    found: set[str] = set()

    async def look() -> set[str]:
        found.clear()
        found.update(await _places(arena))
        return found

    with suppress(NeverHappened):
        await eventually(look, lambda places: not places)
    return found


def _operator(arena: Arena) -> httpx.AsyncClient:
    addresses = arena.stack.addresses
    key = (addresses.keys / "ops").read_text("utf-8").strip()
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=addresses.service_urls["orders"], headers=headers, timeout=60, trust_env=False)


async def _live(arena: Arena, operator: httpx.AsyncClient) -> None:
    """Order some, one of them with a token that is declined, and call one off."""
    contact = await operator.put(f"/v1/customers/{_CUSTOMER}/contact", json={"email": "zebulon@example.org"})
    expect(contact.is_success, f"no contact: {contact.text}")
    order_ids = []
    for number in range(_ORDERS):
        token = "Zebulon token" if number == 0 else "tok_ok"
        placed = await operator.post("/v1/orders", json=_order(number, token), headers=_once())
        expect(placed.is_success, f"no order: {placed.text}")
        order_ids.append(placed.json()["id"])
    reason = {"reason": "Zebulon is tired of it"}
    await operator.post(f"/v1/orders/{order_ids[-1]}/cancellation", json=reason, headers=_once())
    await arena.until("orders", _OVER, lambda over: over == _ORDERS)


def _order(number: int, token: str) -> Mapping[str, Any]:
    return {
        "customer_id": _CUSTOMER,
        "channel": _CHANNEL,
        "reference": f"Zebulon order {number}",
        "currency": "GBP",
        "lines": [{"sku": SKUS[number % len(SKUS)], "quantity": 1, "unit_price_minor": 500}],
        "ship_to": {"country": "GB", "name": "Zebulon Name", "address_lines": ["Zebulon Street 17"]},
        "payment": {"token": token},
    }


def _once() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


async def _places(arena: Arena) -> set[str]:
    """Return where the canary is: tables of databases, topics, dead letters."""
    found = set()
    for name in _DATABASES:
        url = urlsplit(arena.stack.addresses.admin_url)._replace(path=f"/{name}").geturl()
        found |= {f"{name}.{table}" for table in await tables_with(url, _CANARY)}
    topics = [*(topic.name for topic in ALL_TOPICS), *(f"{group}.dlq" for group in READERS)]
    records = await read_everything(arena.bootstrap_servers, topics)
    return found | {record.topic for record in records_with(records, _CANARY)}
