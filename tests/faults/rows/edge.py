"""The HTTP edge: too many at once, the same thing many times, keys that change."""

import asyncio
from collections import Counter
from contextlib import suppress

import httpx

from libs.common.http.keys import issue_key, revoke_keys
from tests.faults.arena import Arena
from tests.faults.matrix import expect, row
from tests.faults.workload import SKUS, Wish
from tests.support.eventually import eventually

_FLOOD, _FLOODS_MAX = 400, 20


@row("F51", "ten times the load", expects="shed early with 429 or 503, the rest is served", shows=("I10",))
async def flood(arena: Arena) -> str:
    statuses: Counter[int] = Counter()
    waits = shed = 0

    async def ask() -> None:
        nonlocal waits
        with suppress(httpx.HTTPError):
            answer = await arena.clients.get("orders", "/v1/orders?limit=100", timeout_seconds=30)
            statuses[answer.status_code] += 1
            waits += "retry-after" in answer.headers

    # How many are under way at once is for the machine to say.
    for number in range(_FLOODS_MAX):
        await asyncio.gather(*(ask() for _ in range(_FLOOD)))
        shed = statuses[503] + statuses[429]
        if number >= 2 and shed and statuses[200]:
            break
    expect(statuses[200] > 0, f"nobody was served: {statuses}")
    expect(shed > 0, f"nothing was shed: {statuses}")
    expect(waits >= shed, "not everybody was told when to come back")
    return f"{statuses[200]} served, {shed} shed"


@row("F52", "one key fifty times at once", expects="one order, everybody gets its answer or 409", shows=("I9",))
async def one_key(arena: Arena) -> str:
    wish = arena.workload.order_wish({SKUS[1]: 1})
    attempts = await asyncio.gather(*(arena.clients.attempt(wish) for _ in range(50)))
    statuses = Counter(attempt.status for attempt in attempts)
    ids = {attempt.answer["id"] for attempt in attempts if attempt.is_accepted}
    expect(len(ids) == 1, f"{len(ids)} orders: {statuses}")
    expect(set(statuses) <= {201, 409, 503}, f"answers {statuses}")
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


@row("F53", "one key for two bodies", expects="422", shows=("I9",))
async def two_bodies(arena: Arena) -> str:
    first = arena.workload.order_wish({SKUS[1]: 1})
    expect((await arena.clients.insist(first)).is_accepted, "the first was refused")
    second = arena.workload.order_wish({SKUS[1]: 2})
    attempt = await arena.clients.insist(
        Wish(
            operation="clash", key=first.key, service=second.service, caller=second.caller,
            path=second.path, body=second.body,
        )
    )  # fmt: skip
    expect(attempt.status == 422, f"answered {attempt.status}")
    return "422"


@row("F65", "keys rotated live", expects="the new works, the old stops, nobody else notices", shows=("I10", "I13"))
async def keys_rotated(arena: Arena) -> str:
    hashes = arena.stack.addresses.keys / "keys.json"
    key = issue_key(hashes, name="visitor", scopes=("orders:read",))

    async def status() -> int:
        url = f"{arena.stack.addresses.service_urls['orders']}/v1/orders?limit=1"
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return (await client.get(url, headers={"Authorization": f"Bearer {key}"})).status_code

    await eventually(status, lambda code: code == 200, timeout_seconds=30)
    started_at = arena.clock.monotonic_seconds()
    revoke_keys(hashes, name="visitor")
    await eventually(status, lambda code: code == 401, timeout_seconds=30)
    return f"revoked within {arena.clock.monotonic_seconds() - started_at:.1f} s"
