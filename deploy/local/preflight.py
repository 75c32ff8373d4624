"""What must be true of the machine before anything is started, and what to do if it is not."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.environment import LocalSettings
from deploy.local.kafka.distribution import resolved_libraries
from deploy.local.ports import Port, is_free
from deploy.local.refusal import Refusal

JAVA_MAJOR_MIN = 17
DISK_BYTES_MIN = 2 * 1024**3
# Of a disk this full no more is written: what failed, failed for that.
DISK_BYTES_FULL = 64 * 1024**2


def check_machine(settings: LocalSettings, ports: Iterable[Port]) -> None:
    """
    Check everything that can be known before the start.

    :raises Refusal: at the first thing that is wrong.
    """
    check_disk(settings.state)
    check_ports(ports)
    check_infrastructure_tools(settings)


def check_infrastructure_tools(settings: LocalSettings) -> None:
    """
    Check that there is what Kafka needs, unless it runs elsewhere.

    :raises Refusal: naming what to install.
    """
    if not settings.kafka_bootstrap_servers:
        check_java(settings.java)
        if not settings.kafka_home:
            check_maven(settings.cache)


def needed_ports(settings: LocalSettings) -> Iterator[Port]:
    """Yield the ports of the infrastructure this machine has to run itself."""
    if not settings.database_url:
        yield settings.ports["postgres"]
    if not settings.kafka_bootstrap_servers:
        yield settings.ports["kafka"]
        yield settings.ports["kafka-controller"]


def check_ports(ports: Iterable[Port]) -> None:
    for port in ports:
        if not is_free(port.number):
            raise Refusal(
                f"port {port.number} ({port.name}) is in use: stop what listens on it,"
                f" or set {port.variable} to another port"
            )


def check_java(java: str) -> None:
    major = java_major(java)
    if major is None:
        raise Refusal(
            f"no Java found: install a JDK {JAVA_MAJOR_MIN} or newer (Debian:"
            " default-jdk-headless), set JAVA_HOME, or set KAFKA_BOOTSTRAP_SERVERS to use a broker"
            " that runs elsewhere"
        )
    if major < JAVA_MAJOR_MIN:
        raise Refusal(
            f"Java {major} is too old for Kafka 4: install a JDK {JAVA_MAJOR_MIN} or newer and set JAVA_HOME to it"
        )


def java_major(java: str) -> int | None:
    """Ask a `java` program for its major version; none if it is absent or says nothing."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Java 8 and older call themselves 1.8.
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(version[1]) if version else None


def check_maven(cache: Path) -> None:
    if shutil.which("mvn") is None and not resolved_libraries(cache).exists():
        raise Refusal(
            "no Maven found to fetch Kafka's jars with: install it (Debian: maven),"
            " or set KAFKA_HOME to an unpacked Kafka 4"
        )


def check_disk(folder: Path) -> None:
    free = free_bytes(folder)
    if free < DISK_BYTES_MIN:
        raise Refusal(
            f"only {free / 1024**3:.1f} GiB free for {folder}: free at least"
            f" {DISK_BYTES_MIN / 1024**3:.0f} GiB, or set QUAYSIDE_STATE to a folder elsewhere"
        )


def disk_is_full(folder: Path) -> bool:
    return free_bytes(folder) < DISK_BYTES_FULL


def free_bytes(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def exclusive(state: Path) -> Iterator[None]:
    """
    Hold the state folder for one stack.

    :raises Refusal: if another stack runs from it.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Refusal(
                f"a stack already runs from {state} (process {lock.read().strip()}): stop it first,"
                " or set QUAYSIDE_STATE to another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
