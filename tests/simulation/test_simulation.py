"""Thousands of schedules of the real code, and broken code that they find."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Of each range; the same on every machine, and many times as many as most ways to break the code take to be found in.
SCHEDULES = 1_000
MUTANT_SCHEDULES = 800


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


# Two ranges, so that test workers share the work.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first_seed", [0, 1_000_000])
def test_no_schedule_violates_an_invariant(first_seed: int) -> None:
    run = simulation(f"--first={first_seed}", f"--seeds={SCHEDULES}")

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.timeout(900)
def test_finds_every_way_in_which_the_code_is_broken() -> None:
    run = simulation("--mutants", f"--seeds={MUTANT_SCHEDULES}")

    assert run.returncode == 0, run.stdout + run.stderr


def test_a_seed_is_one_schedule() -> None:
    first, again = simulation("--seed=7"), simulation("--seed=7")

    assert first.returncode == 0
    assert first.stdout.rpartition(" schedules in ")[0] == again.stdout.rpartition(" schedules in ")[0]
    assert "healed" in first.stdout
