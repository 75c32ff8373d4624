"""
PostgreSQL and Kafka for a test run, started once and only when a test asks for them.

QUAYSIDE_TEST_INFRA chooses: `containers` (testcontainers), `embedded` (deploy.local) or `external`
(DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS); by default containers where a Docker engine answers.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from deploy.local.ports import free_ports

VARIABLE = "QUAYSIDE_TEST_INFRA"
REPOSITORY = Path(__file__).resolve().parents[2]
POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.4.0"
KAFKA_CONTAINER_PORT = 9092
# The first start on a machine also fetches Kafka's jars.
START_SECONDS_MAX = 300
STOP_SECONDS_MAX = 60
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Infrastructure:
    """Where the servers are; the database URL is a superuser's."""

    database_url: str
    kafka_bootstrap_servers: str


class InfrastructureDidNotStart(Exception):
    pass


@contextmanager
def chosen_infrastructure() -> Iterator[Infrastructure]:
    choice = os.environ.get(VARIABLE) or ("containers" if docker_answers() else "embedded")
    match choice:
        case "external":
            yield external()
        case "embedded":
            with embedded() as infrastructure:
                yield infrastructure
        case "containers":
            with containers() as infrastructure:
                yield infrastructure
        case _:
            raise InfrastructureDidNotStart(f"{VARIABLE}={choice}: it must be containers, embedded or external")


def external() -> Infrastructure:
    try:
        return Infrastructure(
            database_url=os.environ["DATABASE_URL"],
            kafka_bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        )
    except KeyError as missing:
        raise InfrastructureDidNotStart(f"{VARIABLE}=external needs {missing.args[0]}") from None


@contextmanager
def embedded() -> Iterator[Infrastructure]:
    with TemporaryDirectory(prefix="quayside-tests-") as folder:
        state = Path(folder)
        # PostgreSQL does not run as root: the account it takes instead must get in.
        state.chmod(0o755)
        output = state / "infrastructure.log"
        with output.open("wb") as log:
            child = subprocess.Popen(
                infra_command(state),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env=without_external_servers(),
                start_new_session=True,
            )
        try:
            yield wait_for_environment(child, state / "environment", output)
        finally:
            child.send_signal(SIGTERM)
            child.wait(STOP_SECONDS_MAX)


def infra_command(state: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "deploy.local",
        "--leashed",
        "infra",
        "--free-ports",
        f"--state={state}",
        f"--environment-file={state / 'environment'}",
    ]


def without_external_servers() -> dict[str, str]:
    ours = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")
    return {name: value for name, value in os.environ.items() if name not in ours}


def wait_for_environment(child: subprocess.Popen[bytes], file: Path, output: Path) -> Infrastructure:
    deadline = monotonic() + START_SECONDS_MAX
    while not file.exists():
        if child.poll() is not None or monotonic() > deadline:
            raise InfrastructureDidNotStart(output.read_text(encoding="utf-8", errors="replace"))
        sleep(POLL_SECONDS)
    variables = dict(
        line.removeprefix("export ").split("=", maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()
    )
    return Infrastructure(
        database_url=variables["DATABASE_URL"],
        kafka_bootstrap_servers=variables["KAFKA_BOOTSTRAP_SERVERS"],
    )


@contextmanager
def containers() -> Iterator[Infrastructure]:
    # Imported here: without an engine the library is not even looked at.
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415

    postgres = PostgresContainer(POSTGRES_IMAGE, driver=None).with_command("postgres -c max_connections=300")
    # A broker tells its clients its address, so the port outside is chosen before it starts.
    kafka_port = free_ports(["kafka"])["kafka"].number
    kafka = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(KAFKA_CONTAINER_PORT, kafka_port)
        .with_envs(**kafka_variables(kafka_port))
        .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    )
    with postgres, kafka:
        yield Infrastructure(
            database_url=postgres.get_connection_url(),
            kafka_bootstrap_servers=f"localhost:{kafka_port}",
        )


def kafka_variables(port: int) -> dict[str, str]:
    """Say what the broker embedded for tests is told in its server.properties."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://:{KAFKA_CONTAINER_PORT},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://localhost:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
    }
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}


def docker_answers() -> bool:
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],  # noqa: S607 - found on PATH
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0
