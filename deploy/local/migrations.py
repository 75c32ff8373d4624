"""Which migrations have run, so that a second start need not run them again."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from deploy.local.environment import REPOSITORY, LocalSettings
from deploy.local.private_files import write_private


class MigrationRecord:
    """
    The code each service was last migrated with, and the servers that was done on.

    A `migrate` that has nothing to do costs as much as one that has, a second or two of a core for
    each service, because it imports the service. It is skipped for the same code on the same data.
    """

    def __init__(self, state: Path, servers: str | None) -> None:
        self._file = state / "migrated.json"
        self._servers = servers

    def has(self, service: str) -> bool:
        return self._servers is not None and self._read().get(service) == self._fingerprint(service)

    def add(self, service: str) -> None:
        if self._servers is not None:
            write_private(self._file, json.dumps(self._read() | {service: self._fingerprint(service)}, indent=2))

    def _read(self) -> dict[str, str]:
        fingerprints: dict[str, str] = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        return fingerprints

    def _fingerprint(self, service: str) -> str:
        digest = hashlib.sha256(str(self._servers).encode())
        for file in code_files(service):
            digest.update(str(file.relative_to(REPOSITORY)).encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()


def code_files(service: str) -> Iterator[Path]:
    for folder in (REPOSITORY / "services" / service, REPOSITORY / "libs"):
        yield from sorted(folder.rglob("*.py"))


async def servers_identity(settings: LocalSettings, admin_url: str) -> str | None:
    """Tell these servers from others at the same place; none for servers that others may change."""
    if settings.database_url or settings.kafka_bootstrap_servers:
        return None
    connection = await asyncpg.connect(admin_url)
    try:
        system = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
    finally:
        await connection.close()
    cluster = (settings.state / "kafka" / "data" / "meta.properties").read_text("utf-8")
    return f"{system}\n{cluster}"
