"""PostgreSQL: killed, restarted, hung, busy, full."""

from tests.faults.arena import Arena
from tests.faults.matrix import row


@row(
    "F16", "PostgreSQL crashes", expects="callers ask again, consumers wait, nothing is set aside", shows=("I10", "I7")
)
async def postgres_killed(arena: Arena) -> str:
    await arena.nemesis.kill_and_wait("postgres")
    return "killed and recovered"
