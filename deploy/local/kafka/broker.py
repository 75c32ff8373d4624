"""One Kafka node in KRaft mode, broker and controller in one process, on 127.0.0.1."""

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local.environment import Detour
from deploy.local.kafka.distribution import LOGGING
from deploy.local.ports import HOST, accepts_connections
from deploy.local.process import ProcessSpecification, run_once

NAME = "kafka"
NODE_ID = 1

JAVA_OPTIONS = (
    "-Xms256m",
    "-Xmx512m",
    # Half of the processor time of a broker's first minutes goes into optimising code that copies bytes.
    "-XX:TieredStopAtLevel=1",
    # The collector with the fewest threads: the machine's two or four cores have services to run.
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    f"-Dlog4j2.configurationFile={LOGGING}",
)


@dataclass(frozen=True, kw_only=True)
class Broker:
    java: str
    libraries: Path
    folder: Path
    port: int
    controller_port: int
    environment: Mapping[str, str]
    detour: Detour | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def properties(self) -> Mapping[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": str(NODE_ID),
            "controller.quorum.voters": f"{NODE_ID}@{HOST}:{self.controller_port}",
            **self._listeners,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,DETOUR:PLAINTEXT",
            "log.dirs": str(self._data),
            # A topic is made by who owns it, with its partitions; a misspelt name is an error.
            "auto.create.topics.enable": "false",
            "default.replication.factor": "1",
            "min.insync.replicas": "1",
            "offsets.topic.replication.factor": "1",
            # The default of 50 partitions is for clusters; each costs open files and start-up time.
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A group of one need not wait for others to join it.
            "group.initial.rebalance.delay.ms": "0",
            # After a kill the controller waits out the dead broker's session before it takes the new.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # A laptop keeps its history until it is told to forget it; topics may say less.
            "log.retention.hours": "-1",
            "log.segment.bytes": str(64 * 1024 * 1024),
            # The default of 128 MiB nearly fills the old generation of a heap this small, and whatever fills it stops
            # the broker for a full collection; so much is enough for 600,000 keys of a compacted topic at a time.
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            # Lets a test that kills consumers ask for a short session.
            "group.min.session.timeout.ms": "1000",
        }

    @property
    def _listeners(self) -> Mapping[str, str]:
        listeners = f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{HOST}:{self.controller_port}"
        advertised = f"PLAINTEXT://{self.bootstrap_servers}"
        if self.detour:
            listeners += f",DETOUR://{HOST}:{self.detour.kafka_behind}"
            advertised += f",DETOUR://{HOST}:{self.detour.kafka}"
        return {"listeners": listeners, "advertised.listeners": advertised}

    async def initialise(self, log: Path) -> None:
        """Write the configuration, and format the data folder unless it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            "".join(f"{name}={value}\n" for name, value in self.properties.items()),
            encoding="utf-8",
        )
        if (self._data / "meta.properties").exists():
            return
        await run_once(
            self._java(
                "storage",
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={new_cluster_id()}",
                f"--config={self._configuration}",
            ),
            log,
        )

    def specification(self) -> ProcessSpecification:
        return self._java(NAME, "kafka.Kafka", str(self._configuration))

    async def is_ready(self) -> bool:
        """Whether the broker takes part in the cluster: its port opens a moment before."""
        if not await accepts_connections(self.port):
            return False
        return await has_controller(self.bootstrap_servers)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _configuration(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, name: str, main_class: str, *arguments: str) -> ProcessSpecification:
        return ProcessSpecification(
            name=name,
            command=(
                self.java,
                *JAVA_OPTIONS,
                "-cp",
                f"{self.libraries}/*",
                main_class,
                *arguments,
            ),
            environment=self.environment,
            folder=self.folder,
            is_ready=self.is_ready,
        )


def new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


async def has_controller(bootstrap_servers: str) -> bool:
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=2000)
    try:
        await client.bootstrap()
    except (KafkaError, OSError):
        return False
    else:
        return client.cluster.controller is not None
    finally:
        await client.close()
