"""Which services there are, which roles each has, and how they are spread over processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

API = "api"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service, the ports of its API and its worker, and the roles a worker can take."""

    name: str
    port: int
    worker_port: int
    roles: tuple[str, ...]

    @property
    def prefix(self) -> str:
        return self.name.upper()

    @property
    def module(self) -> str:
        return f"services.{self.name}"


# The recommender publishes straight to Kafka, and the catalog consumes nothing.
SERVICES = (
    Service(name="catalog", port=8001, worker_port=9001, roles=("relay", "jobs")),
    Service(name="inventory", port=8002, worker_port=9002, roles=("consumer", "relay", "jobs", "auditor")),
    Service(
        name="orders", port=8003, worker_port=9003, roles=("consumer", "relay", "jobs", "notifications", "insights")
    ),
    Service(name="recommender", port=8004, worker_port=9004, roles=("consumer", "jobs")),
    Service(
        name="logistics",
        port=8005,
        worker_port=9005,
        roles=("consumer", "relay", "jobs", "simulator"),
    ),
)


class Spread(Enum):
    """How the roles of a service are laid out over processes."""

    # An API and one worker with every other role: ten processes, for a laptop.
    LAPTOP = "laptop"
    # Every role of every service alone, as in production; what a test can kill one by one.
    ROLES = "roles"


@dataclass(frozen=True, kw_only=True)
class ServiceProcess:
    """One process of a service: `orders-api`, `orders-worker`, `orders-relay`."""

    service: Service
    label: str
    roles: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.service.name}-{self.label}"

    @property
    def is_api(self) -> bool:
        return API in self.roles


def service_processes(spread: Spread) -> Iterator[ServiceProcess]:
    for service in SERVICES:
        yield ServiceProcess(service=service, label=API, roles=(API,))
        match spread:
            case Spread.LAPTOP:
                yield ServiceProcess(service=service, label="worker", roles=service.roles)
            case Spread.ROLES:
                for role in service.roles:
                    yield ServiceProcess(service=service, label=role, roles=(role,))
