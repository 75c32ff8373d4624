"""The one reader of the environment: what a person may set for a run on this machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import PORTS, Port, chosen_ports
from deploy.local.refusal import Refusal

REPOSITORY = Path(__file__).resolve().parents[2]
STATE = REPOSITORY / ".quayside"


@dataclass(frozen=True, kw_only=True)
class Detour:
    """
    Ports where something stands between the services and their servers: a proxy that injects faults.

    Services go to `postgres` and `kafka`; what comes to `kafka` is to be passed on to `kafka_behind`, a listener of the
    broker that tells its clients to come by `kafka`.
    """

    postgres: int
    kafka: int
    kafka_behind: int


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """
    Where the state is, and what of the infrastructure is somebody else's.

    `database_url` is an administrator's: databases and roles are made through it.
    """

    state: Path = STATE
    # Kafka's jars outlive a test run's state folder.
    cache: Path = STATE
    ports: Mapping[str, Port]
    database_url: str | None = None
    kafka_bootstrap_servers: str | None = None
    kafka_topic_prefix: str = ""
    kafka_home: Path | None = None
    java: str = "java"
    detour: Detour | None = None


def settings_from_environment(*, state: Path | None = None, ports: Mapping[str, Port] | None = None) -> LocalSettings:
    """
    Read the settings a person's environment asks for.

    :raises Refusal: if a port variable is no number.
    """
    folder = state or Path(os.environ.get("QUAYSIDE_STATE", STATE))
    return LocalSettings(
        state=folder.resolve(),
        ports=ports or ports_from_environment(),
        database_url=os.environ.get("DATABASE_URL") or None,
        kafka_bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or None,
        kafka_topic_prefix=os.environ.get("QUAYSIDE_KAFKA_TOPIC_PREFIX", ""),
        kafka_home=path_or_none(os.environ.get("KAFKA_HOME")),
        java=java_program(os.environ.get("JAVA_HOME")),
    )


def ports_from_environment() -> Mapping[str, Port]:
    numbers = {}
    for port in PORTS:
        text = os.environ.get(port.variable, "")
        if text and not text.isdecimal():
            raise Refusal(f"{port.variable}={text} is no port number")
        if text:
            numbers[port.name] = int(text)
    return chosen_ports(numbers)


def inherited_environment() -> dict[str, str]:
    """Return what a child process gets besides what it is told: paths, certificates, tracing."""
    return dict(os.environ)


def path_or_none(text: str | None) -> Path | None:
    return Path(text) if text else None


def java_program(java_home: str | None) -> str:
    return str(Path(java_home) / "bin" / "java") if java_home else "java"
