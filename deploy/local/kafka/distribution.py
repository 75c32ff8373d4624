"""The jars of a broker: those of KAFKA_HOME, or those Maven resolves from the pinned pom.xml."""

import hashlib
import os
import shutil
from pathlib import Path

from deploy.local.environment import inherited_environment
from deploy.local.process import ProcessEnded, ProcessSpecification, run_once
from deploy.local.refusal import Refusal

POM = Path(__file__).with_name("pom.xml")
LOGGING = Path(__file__).with_name("log4j2.yaml")


def installed_libraries(kafka_home: Path) -> Path:
    """
    Find the jars of a distribution somebody unpacked.

    :raises Refusal: if the folder holds none.
    """
    libraries = kafka_home / "libs"
    if not any(libraries.glob("kafka_2.13-4.*.jar")):
        raise Refusal(f"KAFKA_HOME={kafka_home} has no Kafka 4 in its libs folder")
    return libraries


def resolved_libraries(cache: Path) -> Path:
    """Name the folder of the jars for the present pom.xml."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    return cache / "jars" / digest


async def resolve_libraries(libraries: Path, log: Path) -> None:
    """
    Have Maven fetch the jars into a folder that is there only when all are.

    :raises Refusal: if Maven cannot.
    """
    partial = libraries.with_name(f"{libraries.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        await run_once(copy_dependencies(partial), log)
        publish(partial, libraries)
    except ProcessEnded:
        raise Refusal(
            "Maven could not fetch Kafka's jars: check its settings and the network, or set"
            f" KAFKA_HOME or KAFKA_BOOTSTRAP_SERVERS; its log is {log}"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, libraries: Path) -> None:
    try:
        partial.rename(libraries)
    except OSError:
        # Another run may have been faster; its folder holds the same.
        if not libraries.is_dir():
            raise


def copy_dependencies(folder: Path) -> ProcessSpecification:
    return ProcessSpecification(
        name="maven",
        command=(
            "mvn",
            "--batch-mode",
            "--no-transfer-progress",
            f"--file={POM}",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={folder}",
        ),
        environment=inherited_environment(),
        folder=POM.parent,
    )
