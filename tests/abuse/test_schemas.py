"""
What the OpenAPI documents say is true: schemathesis makes requests of them, right and wrong ones, and judges answers.

No fault, no status and no media type that is not declared, no body and no header against its schema, no wrong request
accepted, no key ignored, nothing used after it was deleted, missing headers noticed, other methods refused.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.abuse.effort import Effort
from tests.abuse.routes import SERVICES, applications
from tests.abuse.site import Site
from tests.support.infrastructure import REPOSITORY

CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
HOOKS: Final = "tests.abuse.schemathesis_hooks"
SEED: Final = "20260302"
PHASES: Final = "examples,coverage,fuzzing,stateful"
# What is right all the same, by the end of an operation's name. Uploads are judged row by row: the answer to a wrong
# row is that it was rejected. Where another route has a parameter, an address is also an order's or a category's.
EXPECTED: Final = {
    "Schema-violating request accepted": ("/import", "-events"),
    "Allow header mismatch": ("/import",),
    "Wrong response to undeclared method": ("/import",),
}
# Beyond the time that is given, for reading the document and for the last requests.
GRACE_SECONDS: Final = 180


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run may take, and how many examples it makes of each operation."""

    seconds: int
    examples: int


def budget_of(effort: Effort, service: str) -> Budget:
    if not effort.is_thorough:
        return Budget(seconds=3, examples=1)
    return Budget(seconds=70 if service in {"inventory", "orders"} else 35, examples=40)


class TestDocuments:
    @pytest.mark.timeout(900)
    async def test_are_true_for_who_may_do_everything(self, site: Site, effort: Effort, tmp_path: Path) -> None:
        reports = {}
        # Two at a time: schemathesis and the services it asks share the machine.
        places = asyncio.Semaphore(2)

        async def run(service: str) -> None:
            async with places:
                reports[service] = await _run(
                    site,
                    service,
                    site.keys.ops,
                    tmp_path / service,
                    budget=budget_of(effort, service),
                    phases=PHASES if effort.is_thorough else "fuzzing",
                )

        async with asyncio.TaskGroup() as group:
            for service in SERVICES:
                group.create_task(run(service.name))

        assert {service: faults for service, report in reports.items() if (faults := _faults(report))} == {}
        assert all(report["test_cases"]["generated"] for report in reports.values())

    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("caller", ["storefront", "warehouse", "nobody"])
    async def test_are_true_for_who_may_do_less(self, site: Site, effort: Effort, tmp_path: Path, caller: str) -> None:
        if not effort.is_thorough:
            pytest.skip("tried by `make abuse`; the role matrix calls every route with every key")
        key = site.keys.roles.get(caller)
        for service in SERVICES:
            report = await _run(
                site, service.name, key, tmp_path / service.name, budget=Budget(seconds=8, examples=4), phases="fuzzing"
            )

            assert _faults(report) == [], service.name


async def _run(
    site: Site, service: str, key: str | None, folder: Path, *, budget: Budget, phases: str
) -> dict[str, Any]:
    """Run schemathesis against one service; return its report, with what it printed."""
    await asyncio.to_thread(folder.mkdir)
    document = folder / "openapi.json"
    document.write_text(json.dumps(applications()[service].openapi()), "utf-8")
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "--no-color", "run"),
        *(str(document), "--url", site.services[service].url),
        *(("--header", f"Authorization: Bearer {key}") if key else ()),
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--phases", phases, "--seed", SEED),
        *("--max-time", str(budget.seconds), "--max-examples", str(budget.examples), "--continue-on-failure"),
        # A key that was made up would take the place of the one that is sent.
        *("--generation-with-security-parameters", "false", "--generation-database", "none", "--no-shrink"),
        *("--request-timeout", "30", "--suppress-health-check", "all"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    environment = {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(REPOSITORY), "PATH": str(Path(sys.executable).parent)}
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=budget.seconds + GRACE_SECONDS,
    )
    assert await asyncio.to_thread(report.exists), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found | {"output": done.stdout}


def _faults(report: dict[str, Any]) -> list[str]:
    """Return what failed, with the part of the output that shows how to do it again."""
    named = [
        f"{one['title']}: {', '.join(operations)}"
        for one in report["failures"]
        if (operations := [name for name in one["operations"] if not name.endswith(EXPECTED.get(one["title"], ()))])
    ]
    broken = [str(error) for error in report["errors"]]
    if not named and not broken:
        return []
    return [*named, *broken, report["output"].partition("= FAILURES =")[2][:6000]]
