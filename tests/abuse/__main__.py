"""Attack every API of a fresh stack and say what held: `python -m tests.abuse`."""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console
from rich.table import Table

from deploy.local.leash import die_with_parent

_FAILED: Final = 1
_UNUSABLE: Final = 2
_LOG_COLUMNS: Final = 180
_HERE: Final = "tests/abuse"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the fault matrix: what is done, and where; a place is the beginning of a test's name."""

    name: str
    attack: str
    places: tuple[str, ...]


ROWS: Final = (
    Row("API", "what OpenAPI allows and forbids, by schemathesis", (f"{_HERE}/test_schemas.py",)),
    Row(
        "F42",
        "hostile records on the bus",
        (
            f"{_HERE}/test_hostile_records.py",
            "tests/integration/common/test_consumer.py",
            "tests/integration/inventory/test_hostile_reports.py",
        ),
    ),
    Row("F47", "slow requests", (f"{_HERE}/test_raw_sockets.py::TestSlow", "tests/unit/common/http/test_server.py")),
    Row(
        "F48",
        "huge and lying requests",
        (f"{_HERE}/test_raw_sockets.py::TestLying", f"{_HERE}/test_raw_sockets.py::TestLarge"),
    ),
    Row(
        "F49",
        "hostile JSON, Unicode, numbers, addresses",
        tuple(f"{_HERE}/test_hostile_input.py::{one}" for one in ("TestBodies", "TestValues", "TestAddresses")),
    ),
    Row("F50", "clients that leave", (f"{_HERE}/test_raw_sockets.py::TestClientsThatLeave",)),
    Row("F52, F53", "one key many times, or twice", (f"{_HERE}/test_hostile_input.py::TestSameKeyAtOnce",)),
    Row(
        "F55",
        "webhooks replayed, forged, stale, rotated",
        (
            "tests/integration/orders/test_stripe.py::TestWebhook",
            "tests/integration/orders/test_alipay.py::TestNotice",
        ),
    ),
    Row("F56", "receivers of webhooks that misbehave", ("tests/integration/orders/test_webhooks.py",)),
    Row("F57", "webhooks to where nobody may send", ("tests/unit/orders/test_webhooks.py::TestAddresses",)),
    Row(
        "F58",
        "every role on every route, foreign ids",
        tuple(f"{_HERE}/test_role_matrix.py::{one}" for one in ("TestDecl", "TestForeign", "TestOther", "TestDoc")),
    ),
    Row(
        "F59",
        "keys revoked, expired, forged, misplaced",
        (f"{_HERE}/test_role_matrix.py::TestKeys", "tests/unit/common/http/test_keys.py"),
    ),
    Row("F60", "SQL, wildcards, order by", (f"{_HERE}/test_hostile_input.py::TestInjection",)),
    Row("F61", "formulas in CSV", ("tests/unit/common/http/test_csv.py",)),
    Row("F62", "more than a fair share", (f"{_HERE}/test_fair_share.py", "tests/unit/common/http/test_limits.py")),
    Row("F63", "canaries in logs, metrics, events", (f"{_HERE}/test_canaries.py",)),
    Row("F64", "canaries of a whole life, after the erasure", (f"{_HERE}/test_erasure.py",)),
    Row("G5", "secrets that were committed", (f"{_HERE}/test_supply.py::TestSecrets",)),
    Row("G5", "known faults of what is installed", (f"{_HERE}/test_supply.py::TestLock",)),
)


class UnknownRow(Exception):
    """There is no such row."""


@dataclass(eq=False)
class Outcomes:
    """A plugin of pytest: what became of each test."""

    failed: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep an outcome; a test that fails in any phase has failed."""
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.skipped:
            self.skipped[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected"
        elif report.when == "call":
            self.passed.add(report.nodeid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 means that everything was tried and held."""
    options = _parser().parse_args(arguments)
    if options.leashed:
        die_with_parent(signal.SIGTERM)
    try:
        rows = _chosen(options.only)
    except UnknownRow as error:
        sys.stderr.write(f"quayside: {error}\n")
        return _UNUSABLE
    outcomes = Outcomes()
    files = dict.fromkeys(place.partition("::")[0] for row in rows for place in row.places)
    names = [place for row in rows for place in row.places]
    code = pytest.main(
        ["--thorough", "--quiet", "--no-header", "-p", "no:cacheprovider", "--tb=short", _HERE, *files],
        plugins=[outcomes, _Selection(names)],
    )
    console = Console() if sys.stdout.isatty() else Console(width=_LOG_COLUMNS)
    broken = _print(console, rows, outcomes)
    return _FAILED if broken or code != pytest.ExitCode.OK else 0


@dataclass(eq=False)
class _Selection:
    """A plugin of pytest: of the files that are read, only the tests of the chosen rows run."""

    places: Sequence[str]

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid.startswith(tuple(self.places))]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def _chosen(only: str | None) -> tuple[Row, ...]:
    if only is None:
        return ROWS
    wanted = {name.strip() for name in only.split(",")}
    known = {name for row in ROWS for name in row.name.split(", ")}
    if unknown := wanted - known:
        raise UnknownRow(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return tuple(row for row in ROWS if wanted & set(row.name.split(", ")))


def _print(console: Console, rows: Sequence[Row], outcomes: Outcomes) -> bool:
    """Print the verdicts; return whether a row did not hold."""
    table = Table("row", "attack", "tests", "verdict", title="Every API under bad input")
    is_broken = False
    for row in rows:
        passed, failed = _of(row, outcomes.passed), _of(row, outcomes.failed)
        skipped = _reasons(row, outcomes.skipped)
        if failed:
            verdict = f"[red]broke:[/] {', '.join(sorted(one.rpartition('::')[2] for one in failed)[:3])}"
        elif passed:
            verdict = "[green]held[/]" + (
                f" ({len(skipped)} skipped: {next(iter(skipped.values()))})" if skipped else ""
            )
        elif skipped:
            verdict = f"[yellow]skipped:[/] {next(iter(skipped.values()))}"
        else:
            verdict = "[red]nothing was tried[/]"
        is_broken |= bool(failed) or not (passed or skipped)
        table.add_row(row.name, row.attack, str(len(passed) + len(failed)), verdict)
    console.print(table)
    return is_broken


def _of(row: Row, tests: set[str]) -> set[str]:
    return {test for test in tests if test.startswith(row.places)}


def _reasons(row: Row, skipped: Mapping[str, str]) -> dict[str, str]:
    return {test: reason.removeprefix("Skipped: ") for test, reason in skipped.items() if test.startswith(row.places)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse", description=__doc__)
    parser.add_argument("--only", help="rows, such as F42,F58")
    parser.add_argument("--leashed", action="store_true", help="end with the process that started this")
    return parser


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
