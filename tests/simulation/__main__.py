"""
Run schedules: one, with `python -m tests.simulation --seed 17`, or many, with `--first 0 --seeds 1000`.

`--mutants` breaks the code in one place after the other, and fails if a broken one gets through all its schedules.
"""

import argparse
import gc
import logging
import os
import sys
import time
from collections import Counter

import structlog

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.shop import has_habit, simulate
from tests.simulation.world import Violated

_COLLECT_EVERY = 100
# What every run of many must have met.
SOMETIMES = frozenset(
    {
        "a death found",
        "answer to a commit lost",
        "events bundled",
        "goods exchanged",
        "goods lost",
        "offset commit lost",
        "offset commit refused",
        "order edited",
        "outcome of a publish unknown",
        "payment happened without an answer",
        "process killed",
        "rebalance",
        "relay taken over",
        "request without an answer",
        "return refunded",
        "reviewed by a person",
        "transfer approved",
        "units held",
        "what kills was set aside",
    }
)


def main() -> None:
    """Run what was asked for; exit with 1 if an invariant was violated, or a mutant was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="run one schedule and say what happens in it")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--mutants", action="store_true")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # noqa: TID251 - sets of texts are iterated by it
        environment = {**os.environ, "PYTHONHASHSEED": "0"}  # noqa: TID251
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment)  # noqa: S606
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=True
    )
    # What a schedule leaves behind is one large circle; looking for it while one runs costs a fifth of the time.
    gc.disable()
    gc.freeze()
    if arguments.mutants:
        missed = [mutant.name for mutant in MUTANTS if not _is_found(mutant, arguments.seeds)]
        sys.exit(bool(missed))
    if arguments.seed is not None:
        sys.exit(not _run(arguments.seed, 1, is_traced=True))
    sys.exit(not _run(arguments.first, arguments.seeds))


def _run(first: int, seeds: int, *, is_traced: bool = False) -> bool:
    began_at = time.process_time()
    met: Counter[str] = Counter()
    for schedules, seed in enumerate(range(first, first + seeds), 1):
        try:
            met.update(simulate(seed, is_traced=is_traced).met.keys())
        except Violated as violation:
            _say(f"seed {seed}: {violation}\nagain: python -m tests.simulation --seed {seed}")
            return False
        if schedules % _COLLECT_EVERY == 0:
            gc.collect()
    _say(f"{seeds} schedules in {time.process_time() - began_at:.1f} s; of them with")
    for path, times in sorted(met.items()):
        _say(f"{times:8}  {path}")
    never = SOMETIMES - met.keys()
    if never and seeds >= _COLLECT_EVERY:
        _say(f"never: {sorted(never)}")
        return False
    return True


def _is_found(mutant: Mutant, seeds: int) -> bool:
    with mutant.applied():
        for seed in range(seeds):
            if not has_habit(seed, mutant.where):
                continue
            try:
                simulate(seed)
            except Violated as violation:
                _say(f"{mutant.name}: seed {seed}, {str(violation)[:100]}")
                return True
            finally:
                if seed % _COLLECT_EVERY == 0:
                    gc.collect()
    _say(f"{mutant.name}: not found in {seeds} schedules")
    return False


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


main()
