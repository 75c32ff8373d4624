"""Processes and their host: killed, paused, starved."""

from tests.faults.arena import Arena
from tests.faults.matrix import row


@row("F1", "API killed amid requests", expects="a retry with the same key gives one order", shows=("I3", "I9", "I10"))
async def api_killed(arena: Arena) -> str:
    kills = 3
    for _ in range(kills):
        for api in ("orders-api", "inventory-api"):
            await arena.nemesis.moment(0.01, 0.5)
            await arena.nemesis.kill(api)
        await arena.stack.wait_ready("orders-api", "inventory-api")
        await arena.nemesis.moment(0.5, 1.0)
    return f"{2 * kills} kills"
