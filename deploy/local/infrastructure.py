"""PostgreSQL and Kafka under a supervisor, or those that are somebody else's."""

from dataclasses import dataclass

from deploy.local.environment import LocalSettings, inherited_environment
from deploy.local.kafka import broker
from deploy.local.kafka.broker import Broker
from deploy.local.kafka.distribution import installed_libraries, resolve_libraries, resolved_libraries
from deploy.local.postgres import embedded_postgres
from deploy.local.stages import Stages
from deploy.local.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True)
class Infrastructure:
    """Where the two servers are."""

    database_url: str
    kafka_bootstrap_servers: str


async def start_postgres(supervisor: Supervisor, settings: LocalSettings, stages: Stages) -> str:
    """Start PostgreSQL unless one is given, and return the administrator's URL."""
    if settings.database_url:
        return settings.database_url
    server = embedded_postgres(state=settings.state, port=settings.ports["postgres"].number)
    with stages.stage("PostgreSQL 18"):
        await server.initialise(supervisor.log("initdb"))
        await supervisor.start(server.specification())
    return server.url


async def start_kafka(supervisor: Supervisor, settings: LocalSettings, stages: Stages) -> str:
    """Start Kafka unless one is given, and return its bootstrap servers."""
    if settings.kafka_bootstrap_servers:
        return settings.kafka_bootstrap_servers
    if settings.kafka_home:
        libraries = installed_libraries(settings.kafka_home)
    else:
        libraries = resolved_libraries(settings.cache)
        if not libraries.exists():
            with stages.stage("Kafka's jars"):
                await resolve_libraries(libraries, supervisor.log("maven"))
    node = Broker(
        java=settings.java,
        libraries=libraries,
        folder=settings.state / broker.NAME,
        port=settings.ports["kafka"].number,
        controller_port=settings.ports["kafka-controller"].number,
        environment=inherited_environment(),
        detour=settings.detour,
    )
    with stages.stage("Kafka 4"):
        await node.initialise(supervisor.log("kafka-storage"))
        await supervisor.start(node.specification())
    return node.bootstrap_servers
