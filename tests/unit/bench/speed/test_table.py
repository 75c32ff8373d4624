"""The table says what was measured, and marks what was missed."""

import pytest

from bench.speed.results import Row, Sample, Series, Target
from bench.speed.statistics import latency_of
from bench.speed.table import cells, histogram_lines


def sample(rate: float, *, cpu: dict[str, float] | None = None, latencies: list[float] | None = None) -> Sample:
    return Sample(
        operations=1_000,
        seconds=1_000 / rate,
        cpu_seconds=cpu or {},
        latency=latency_of(latencies) if latencies else None,
    )


def series(*rates: float, cpu: dict[str, float] | None = None) -> Series:
    return Series(name="program", samples=[sample(rate, cpu=cpu) for rate in rates])


def row(ours: Series, limit: Series | None, *targets: Target) -> Row:
    return Row(
        figure="figure", title="a figure", unit="things", ours=ours, limit=limit, targets=targets, conditions="quiet"
    )


def test_ratio_and_mark_come_from_medians() -> None:
    reached = row(series(900, 5_000, 1_000), series(2_000, 1_900, 9_000), Target(kind="ratio", value=0.5))

    assert reached.ratio == pytest.approx(0.5)
    assert reached.reached(reached.targets[0])
    assert cells(reached)[:5] == ["a figure", "1,000/s", "2,000/s\nprogram", "0.50", "✓ ≥ 0.5 x"]


def test_a_target_that_is_missed_is_marked_and_not_hidden() -> None:
    missed = row(series(100), series(1_000), Target(kind="ratio", value=0.5))

    assert missed.reached(missed.targets[0]) is False
    assert cells(missed)[4] == "✗ ≥ 0.5 x"


def test_a_target_about_what_was_not_measured_is_neither() -> None:
    unmeasured = row(series(100), None, Target(kind="p99_ms", value=100))

    assert unmeasured.reached(unmeasured.targets[0]) is None
    assert cells(unmeasured)[4] == "? p99 < 100 ms"


def test_processor_time_is_told_for_an_operation_by_process() -> None:
    ours = series(100, cpu={"consumer": 0.05, "postgres": 0.15, "idle": 0.0})
    compared = row(ours, series(100, cpu={"postgres": 0.1}))

    assert cells(compared)[7] == "ours 200: postgres 150, consumer 50\nlimit 100: postgres 100"
    assert compared.cpu_ratio == pytest.approx(0.5)


def test_the_p99_of_a_figure_is_the_median_of_its_repetitions() -> None:
    ours = Series(name="ours", samples=[sample(10, latencies=[seconds]) for seconds in (0.010, 0.090, 0.500)])
    measured = row(ours, None, Target(kind="p99_ms", value=100))

    assert ours.p99_ms == pytest.approx(90)
    assert measured.reached(measured.targets[0])


def test_a_histogram_is_drawn_without_hiding_small_counts() -> None:
    lines = histogram_lines([(10, 4_000), (20, 1), (float("inf"), 0)])

    assert lines[0].endswith("█ 4,000")
    assert lines[1].endswith("█ 1")
    assert "> 20 ms" in lines[2]
    assert "█" not in lines[2]
    assert histogram_lines([]) == []
