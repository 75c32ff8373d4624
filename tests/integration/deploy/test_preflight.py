import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import preflight
from deploy.local.environment import LocalSettings
from deploy.local.ports import Port, chosen_ports
from deploy.local.preflight import (
    check_disk,
    check_infrastructure_tools,
    check_java,
    check_ports,
    exclusive,
    java_major,
    needed_ports,
)
from deploy.local.refusal import Refusal


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    return LocalSettings(state=tmp_path, cache=tmp_path, ports=chosen_ports({}))


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def java_that_says(answer: str, folder: Path) -> str:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{answer}' >&2\n")
    program.chmod(0o755)
    return str(program)


class TestPorts:
    def test_names_the_port_in_use_and_the_variable_that_changes_it(self, busy_port: int) -> None:
        port = Port("orders-api", "ORDERS_PORT", busy_port)

        with pytest.raises(Refusal, match=rf"port {busy_port} \(orders-api\).* set ORDERS_PORT"):
            check_ports([port])

    def test_are_not_needed_for_what_runs_elsewhere(self, settings: LocalSettings) -> None:
        elsewhere = replace(settings, database_url="postgresql://db.example/postgres")

        assert [port.name for port in needed_ports(elsewhere)] == ["kafka", "kafka-controller"]


class TestJava:
    @pytest.mark.parametrize(
        ("answer", "major"),
        [
            ('openjdk version "17.0.15" 2025-04-15', 17),
            # As a release without updates calls itself.
            ('openjdk version "25" 2025-09-16', 25),
            ('java version "1.8.0_402"', 8),
            ("no such thing", None),
        ],
    )
    def test_tells_its_major_version(self, tmp_path: Path, answer: str, major: int | None) -> None:
        assert java_major(java_that_says(answer, tmp_path)) == major

    def test_that_is_missing_is_asked_for(self) -> None:
        with pytest.raises(Refusal, match="no Java found: install a JDK 17 or newer"):
            check_java("/nowhere/java")

    def test_that_is_old_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Refusal, match="Java 11 is too old"):
            check_java(java_that_says('openjdk version "11.0.2"', tmp_path))

    def test_is_not_needed_for_a_broker_elsewhere(self, settings: LocalSettings) -> None:
        elsewhere = replace(settings, java="/nowhere/java", kafka_bootstrap_servers="kafka.example:9092")

        check_infrastructure_tools(elsewhere)


class TestMaven:
    def test_that_is_missing_is_asked_for_when_there_are_no_jars(
        self, tmp_path: Path, settings: LocalSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        java = java_that_says('openjdk version "21"', tmp_path)
        monkeypatch.setenv("PATH", "/nowhere")

        # A script needs no PATH to run, and Maven cannot be found without one.
        with pytest.raises(Refusal, match="no Maven found"):
            check_infrastructure_tools(replace(settings, java=java))


class TestDisk:
    def test_that_is_nearly_full_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preflight, "DISK_BYTES_MIN", 2**80)

        with pytest.raises(Refusal, match="GiB free"):
            check_disk(tmp_path / "not" / "made" / "yet")


class TestExclusive:
    def test_refuses_a_second_stack_in_the_same_folder(self, tmp_path: Path) -> None:
        with exclusive(tmp_path), pytest.raises(Refusal, match="already runs"), exclusive(tmp_path):
            pass

    def test_can_be_had_again_afterwards(self, tmp_path: Path) -> None:
        for _ in range(2):
            with exclusive(tmp_path):
                assert (tmp_path / "lock").read_text().isdecimal()
