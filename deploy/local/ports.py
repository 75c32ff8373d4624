"""The ports of the stack: their defaults, the variables that change them, free ones for tests."""

import asyncio
import random
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from deploy.local.services import SERVICES

HOST = "127.0.0.1"
# Below the ports that systems give to outgoing connections: among those, a client that keeps trying
# to reach a server that was killed can be given the server's own port, which then cannot restart.
FREE_PORT_RANGE = range(20000, 32000)
ANSWER_SECONDS_MAX = 5.0


@dataclass(frozen=True)
class Port:
    name: str
    variable: str
    number: int


# Not the servers' own defaults, so that one installed on the machine is not in the way.
INFRASTRUCTURE_PORTS = (
    Port("postgres", "QUAYSIDE_POSTGRES_PORT", 15432),
    Port("kafka", "QUAYSIDE_KAFKA_PORT", 19092),
    Port("kafka-controller", "QUAYSIDE_KAFKA_CONTROLLER_PORT", 19093),
)
SERVICE_PORTS = tuple(
    port
    for service in SERVICES
    for port in (
        Port(f"{service.name}-api", f"{service.prefix}_PORT", service.port),
        Port(f"{service.name}-worker", f"{service.prefix}_WORKER_PORT", service.worker_port),
    )
)
PORTS = INFRASTRUCTURE_PORTS + SERVICE_PORTS


def chosen_ports(numbers: Mapping[str, int]) -> Mapping[str, Port]:
    """Every port by name, at its default unless a number is given for it."""
    return {port.name: replace(port, number=numbers.get(port.name, port.number)) for port in PORTS}


def free_ports(names: Iterable[str]) -> Mapping[str, Port]:
    """Choose for each name a port that nothing listens on, and that nobody else chooses while this process lives."""
    candidates = random.sample(FREE_PORT_RANGE, k=len(FREE_PORT_RANGE))
    free = (number for number in candidates if is_free(number) and is_claimed(number))
    return {name: Port(name, name, number) for name, number in zip(names, free, strict=False)}


def is_free(number: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that has just closed does not hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError:
            return False
    return True


def is_claimed(number: int) -> bool:
    """
    Whether a port is now this process's to give away, until it ends: what is to listen there may take a while to start.

    Of two that choose at the same time, such as the workers of a test run, one is told no. Only Linux has names that
    end with whoever bears them; elsewhere nobody is told no.
    """
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0quayside-port-{number}")
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


async def accepts_connections(number: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, number)
    except OSError:
        return False
    await close(writer)
    return True


async def answers_ok(number: int, path: str) -> bool:
    """Whether an HTTP server says 200: asked ten times a second, so without a client's machinery."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(HOST, number)
            request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode("ascii"))
            status_line = await reader.readline()
            await close(writer)
    except (OSError, TimeoutError):
        return False
    return status_line.split()[1:2] == [b"200"]


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
