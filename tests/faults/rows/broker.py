"""Kafka and the network before it."""

from tests.faults.arena import Arena
from tests.faults.matrix import row


@row("F29", "broker killed", expects="outboxes grow and drain, consumers resume", shows=("I5", "I6", "I7", "I12"))
async def broker_killed(arena: Arena) -> str:
    await arena.nemesis.kill_and_wait("kafka")
    return "killed and recovered"
