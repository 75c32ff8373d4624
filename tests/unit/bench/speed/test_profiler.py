"""Where the time goes, read from folded stacks."""

from pathlib import Path

import pytest

from bench.speed.profiler import hot_list, hottest

FOLDED = """\
run;handle;decode 60
run;handle;write;send 30
run;handle;handle 10
"""


def test_the_hottest_functions_are_those_that_samples_end_in() -> None:
    hot = hottest(FOLDED)

    assert [one.function for one in hot] == ["decode", "send", "handle"]
    assert hot[0].own == pytest.approx(0.6)
    # A function that calls itself is counted once a sample.
    assert hot[2].own == pytest.approx(0.1)
    assert hot[2].total == pytest.approx(1)


def test_processes_without_samples_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "hot-sku"
    folder.mkdir()
    (folder / "api.folded").write_text("")
    (folder / "consumer.folded").write_text(FOLDED)

    lines = hot_list(tmp_path)

    assert lines[1].startswith("hot-sku, consumer")
    assert "60.0% own" in lines[2]
    assert not any("api" in line for line in lines)
