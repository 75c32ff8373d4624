"""
What the OpenAPI documents say is true: schemathesis makes requests of them, right and wrong ones, and judges answers.

No fault, no status and no media type that is not declared, no body and no header against its schema, no wrong request
accepted, no right one refused but for a reason of `refusals.py`, no key ignored, nothing used after it was deleted,
missing headers noticed, other methods refused.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.abuse.completions import NAMES_FILE
from tests.abuse.effort import Effort
from tests.abuse.routes import SERVICES, applications
from tests.abuse.site import Site
from tests.abuse.stage import Names, set_stage
from tests.support.infrastructure import REPOSITORY

CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
HOOKS: Final = "tests.abuse.schemathesis_hooks"
SEED: Final = "20260302"
PHASES: Final = "examples,coverage,fuzzing,stateful"
# Ours asks more: `allowed_is_accepted` of the hooks wants a reason for each field of each refusal.
REPLACED: Final = "positive_data_acceptance"
# What is deleted there is no more sold, and still shown with its history.
KEEPS_WHAT_IS_DELETED: Final = frozenset({"catalog"})
LINKS: Final = re.compile(r"API Links: +(?P<covered>\d+) covered")
LINKS_MIN: Final = 10
# What is right all the same, by the end of an operation's name. Uploads are judged row by row: the answer to a wrong
# row is that it was rejected. Where another route has a parameter, an address is also an order's or a category's.
EXPECTED: Final = {
    "Schema-violating request accepted": ("/import", "-events"),
    "Allow header mismatch": ("/import",),
    "Wrong response to undeclared method": ("/import",),
}
# What is printed of an operation that failed.
BLOCK: Final = re.compile(r"(?ms)^_{3,} (?P<operation>\S.*?) _{3,}$(?P<block>.*?)(?=^_{3,} \S|^={3,})")
# Examples of each operation. Not a time: on a busy machine that would be over before most of them had their turn.
EXAMPLES: Final = 24
EXAMPLES_OF_LESSER_CALLERS: Final = 2
# Only for what never ends: how long an answer takes is for the machine to say.
ANSWER_SECONDS_MAX: Final = "120"
SECONDS_MAX: Final = 840
AT_ONCE: Final = 2


@pytest.fixture(scope="module")
def names(site: Site, effort: Effort) -> Names:
    """Return what there is to be asked for: nothing where there is no time to make it."""
    return asyncio.run(set_stage(site)) if effort.is_thorough else {}


class TestDocuments:
    @pytest.mark.timeout(900)
    async def test_are_true_for_who_may_do_everything(
        self, site: Site, effort: Effort, names: Names, tmp_path: Path
    ) -> None:
        reports = await _run_all(
            lambda service: _run(
                site,
                service,
                site.keys.ops,
                tmp_path / service,
                names=names.get(service, {}),
                examples=EXAMPLES if effort.is_thorough else 1,
                phases=PHASES if effort.is_thorough else "fuzzing",
            )
        )

        _check(reports)
        if effort.is_thorough:
            # Things are made, and then asked for, changed and removed under the ids that they were given.
            links = [found for report in reports.values() for found in LINKS.finditer(report["output"])]
            assert sum(int(found["covered"]) for found in links) >= LINKS_MIN
        untried = {service: report["operations"] for service, report in reports.items() if _untried(report)}
        assert untried == {}

    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("caller", ["storefront", "warehouse", "nobody"])
    async def test_are_true_for_who_may_do_less(
        self, site: Site, effort: Effort, names: Names, tmp_path: Path, caller: str
    ) -> None:
        if not effort.is_thorough:
            pytest.skip("tried by `make abuse`; the role matrix calls every route with every key")
        key = site.keys.roles.get(caller)

        reports = await _run_all(
            lambda service: _run(
                site,
                service,
                key,
                tmp_path / service,
                names=names.get(service, {}),
                examples=EXAMPLES_OF_LESSER_CALLERS,
                phases="fuzzing",
            )
        )

        _check(reports)


async def _run_all(run: Callable[[str], Awaitable[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the report of each service; a few at a time: schemathesis and the services it asks share the machine."""
    places = asyncio.Semaphore(AT_ONCE)

    async def run_one(service: str) -> dict[str, Any]:
        async with places:
            return await run(service)

    async with asyncio.TaskGroup() as group:
        tasks = {service.name: group.create_task(run_one(service.name)) for service in SERVICES}
    return {service: task.result() for service, task in tasks.items()}


async def _run(
    site: Site,
    service: str,
    key: str | None,
    folder: Path,
    *,
    names: Mapping[str, list[str]],
    examples: int,
    phases: str,
) -> dict[str, Any]:
    """Run schemathesis against one service; return its report, with what it printed."""
    await asyncio.to_thread(folder.mkdir)
    (folder / NAMES_FILE).write_text(json.dumps(names), "utf-8")
    document = folder / "openapi.json"
    document.write_text(json.dumps(applications()[service].openapi()), "utf-8")
    report = folder / "report.json"
    excluded = f"{REPLACED},use_after_free" if service in KEEPS_WHAT_IS_DELETED else REPLACED
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "--no-color", "run"),
        *(str(document), "--url", site.services[service].url),
        *(("--header", f"Authorization: Bearer {key}") if key else ()),
        *("--checks", "all", "--exclude-checks", excluded, "--phases", phases, "--seed", SEED),
        *("--max-examples", str(examples), "--continue-on-failure"),
        # A key that was made up would take the place of the one that is sent.
        *("--generation-with-security-parameters", "false", "--generation-database", "none", "--no-shrink"),
        *(
            "--request-timeout",
            ANSWER_SECONDS_MAX,
            "--max-response-time",
            ANSWER_SECONDS_MAX,
            "--suppress-health-check",
            "all",
        ),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    environment = {
        "SCHEMATHESIS_HOOKS": HOOKS,
        "PYTHONPATH": str(REPOSITORY),
        "PATH": str(Path(sys.executable).parent),
    }
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert await asyncio.to_thread(report.exists), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found | {"output": done.stdout}


def _untried(report: dict[str, Any]) -> bool:
    operations = report["operations"]
    return not report["complete"] or operations["tested"] < operations["total"]


def _check(reports: Mapping[str, dict[str, Any]]) -> None:
    """Fail with all that was found, and with the parts of the output that show how to do it again."""
    found = [f"{service}: {fault}" for service, report in reports.items() for fault in _faults(report)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def _faults(report: dict[str, Any]) -> list[str]:
    named = {
        operation: one["title"]
        for one in report["failures"]
        for operation in one["operations"]
        if not operation.endswith(EXPECTED.get(one["title"], ()))
    }
    blocks = [found["block"] for found in BLOCK.finditer(report["output"]) if found["operation"] in named]
    return [*(f"{operation}: {title}" for operation, title in named.items()), *map(str, report["errors"]), *blocks]
