"""The bench itself, with tiny sizes: that it measures, not how fast anything is."""

from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from rich.console import Console

from bench.replay.progress import shown_steps
from bench.speed.__main__ import measure
from bench.speed.figures import chosen
from bench.speed.machine import describe_machine
from bench.speed.results import Report
from bench.speed.rig import Rig
from bench.speed.scale import SMALL
from bench.speed.table import print_report
from deploy.local.environment import LocalSettings
from tests.support.infrastructure import Infrastructure


@pytest.mark.timeout(240)
async def test_figures_come_out_beside_their_limits(infrastructure: Infrastructure, tmp_path: Path) -> None:
    settings = LocalSettings(
        state=tmp_path,
        ports={},
        database_url=infrastructure.database_url,
        kafka_bootstrap_servers=infrastructure.kafka_bootstrap_servers,
    )
    console = Console(file=(tmp_path / "output").open("w", encoding="utf-8"), width=200)
    async with Rig(settings, prefix=f"bench-{uuid4().hex[:8]}.", is_compact=True) as rig:
        with shown_steps(console) as steps:
            rows, failures = await measure(rig, chosen("stock-events visibility"), SMALL, steps)
        machine = await describe_machine(admin_url=rig.admin_url, data_folder=tmp_path)
    report = Report(measured_at="now", machine=machine, repetitions=1, rows=rows, failures=failures)
    report.write(tmp_path / "report.json")
    print_report(console, report)
    console.file.close()

    assert failures == {}
    by_name = {row.figure: row for row in rows}
    intake, visibility = by_name["stock-events"], by_name["visibility"]
    assert intake.limit is not None
    assert intake.ratio == pytest.approx(intake.ours.rate / intake.limit.rate)
    assert {"inventory-consumer", "inventory-relay"} <= set(intake.ours.middle.cpu_seconds)
    assert sum(count for _, count in visibility.histogram) == 1_000 * SMALL.open_load_seconds * SMALL.repetitions
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes())["rows"][0]["figure"] == "stock-events"
    assert "warehouse events from Kafka" in (tmp_path / "output").read_text("utf-8")
