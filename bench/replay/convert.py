"""Cut the bundled sample out of the full file: `python -m bench.replay.convert SOURCE OUT`."""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.replay.facts import interpret
from bench.replay.rows import (
    SAMPLE_PATH,
    UnreadableSource,
    read_rows,
    trading_days,
    write_sample,
)

# Two whole months without a holiday season: the shop's everyday mix of orders and cancellations.
FIRST_DAY = date(2011, 5, 1)
LAST_DAY = date(2011, 6, 30)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sample and say what is in it."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay.convert", description=__doc__)
    parser.add_argument("source", type=Path, help="the full data set (.parquet or .csv)")
    parser.add_argument("out", type=Path, nargs="?", default=SAMPLE_PATH)
    parser.add_argument("--first-day", type=date.fromisoformat, default=FIRST_DAY)
    parser.add_argument("--last-day", type=date.fromisoformat, default=LAST_DAY)
    options = parser.parse_args(arguments)
    try:
        rows = trading_days(read_rows(options.source), first=options.first_day, last=options.last_day)
    except UnreadableSource as error:
        sys.stderr.write(f"{error}\n")
        return 2
    write_sample(rows, options.out)
    trading = interpret(rows)
    content = options.out.read_bytes()
    sys.stdout.write(
        f"{options.out}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}\n"
        f"{len(rows):,} rows worth {trading.value:,} GBP; {len(trading.sales):,} orders of "
        f"{trading.sold.lines:,} lines, {len(trading.cancellations):,} cancellations of "
        f"{trading.cancelled.lines:,} lines\n"
    )
    for reason, tally in sorted(trading.excluded.items()):
        sys.stdout.write(f"left out, {reason}: {tally.lines:,} lines worth {tally.value:,} GBP\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
