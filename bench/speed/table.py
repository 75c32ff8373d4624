"""The figures of a run as one table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.speed.results import Report, Row, Series, Target

_BAR_CHARACTERS = 40


def print_report(console: Console, report: Report) -> None:
    """Show what was measured, and on what."""
    console.print(report.machine.line(), highlight=False, soft_wrap=True)
    console.print(figures_table(report.rows))
    for row in report.rows:
        console.print(f"{row.figure}: {row.conditions}", highlight=False, soft_wrap=True)
        for line in histogram_lines(row.histogram):
            console.print(line, highlight=False)


def figures_table(rows: Sequence[Row]) -> Table:
    """Lay out one line for each figure, and under it the limit."""
    table = Table(title="Speed beside the limit (medians)", title_justify="left")
    for heading in ("Figure", "Ours", "Limit", "Ratio", "Required", "p50 ms", "p99 ms", "CPU µs each", "CPU ratio"):
        is_text = heading in {"Figure", "Required", "CPU µs each"}
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*cells(row))
    return table


def cells(row: Row) -> list[str]:
    """Return the texts of a figure's line."""
    return [
        row.title,
        f"{row.ours.mebibytes:,.0f} MiB" if row.ours.mebibytes is not None else f"{row.ours.rate:,.0f}/s",
        f"{row.limit.rate:,.0f}/s\n{row.limit.name}" if row.limit else "-",
        _ratio(row.ratio),
        "\n".join(_requirement(row, target) for target in row.targets) or "-",
        _milliseconds(row.ours.p50_ms),
        _milliseconds(row.ours.p99_ms),
        "\n".join(filter(None, (_cpu("ours", row.ours), _cpu("limit", row.limit) if row.limit else ""))),
        _ratio(row.cpu_ratio),
    ]


def _requirement(row: Row, target: Target) -> str:
    mark = {True: "✓", False: "✗", None: "?"}[row.reached(target)]
    match target.kind:
        case "ratio":
            return f"{mark} ≥ {target.value:g} x"
        case "rate":
            return f"{mark} ≥ {target.value:,.0f}/s"
        case "p99_ms":
            return f"{mark} p99 < {target.value:,.0f} ms"
        case "mebibytes":
            return f"{mark} < {target.value:,.0f} MiB"


def _ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"  # noqa: PLR2004 - three digits are enough


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _cpu(name: str, series: Series) -> str:
    each = series.middle.cpu_microseconds()
    if not each:
        return ""
    parts = ", ".join(f"{process} {value:.0f}" for process, value in sorted(each.items(), key=lambda one: -one[1]))
    return f"{name} {sum(each.values()):.0f}: {parts}"


def histogram_lines(histogram: Sequence[tuple[float, int]]) -> list[str]:
    """Draw latencies as bars, one line for each bound."""
    most = max((count for _, count in histogram), default=0)
    if not most:
        return []
    lines = []
    lower = 0.0
    for bound, count in histogram:
        bar = "█" * max(round(count / most * _BAR_CHARACTERS), 1 if count else 0)
        label = f"> {lower:g} ms" if bound == float("inf") else f"≤ {bound:g} ms"
        lines.append(f"  {label:>10} {bar} {count:,}")
        lower = bound
    return lines
