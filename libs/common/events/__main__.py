"""`python -m libs.common.events`: write the committed schemas and the AsyncAPI document."""

import argparse
import sys
from pathlib import Path

import msgspec

from libs.common.events.base import Event
from libs.common.events.registry import EVENTS
from libs.common.events.schemas import (
    SCHEMA_DIRECTORY,
    asyncapi,
    incompatibilities,
    render,
    schema_file,
    schema_of,
)

ASYNCAPI_FILE = Path("docs/asyncapi.json")


def main() -> int:
    """Write every document; 1 if a change would break somebody."""
    parser = argparse.ArgumentParser(prog="python -m libs.common.events", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root")
    root: Path = parser.parse_args().root
    SCHEMA_DIRECTORY.mkdir(exist_ok=True)
    breaking = [problem for event_class in EVENTS.values() for problem in _breaking_changes(event_class)]
    if breaking:
        sys.stderr.write("\n".join((*breaking, "publish a new topic version beside the old one instead\n")))
        return 1
    for event_class in EVENTS.values():
        schema_file(event_class).write_text(render(schema_of(event_class)))
    (root / ASYNCAPI_FILE).parent.mkdir(exist_ok=True)
    (root / ASYNCAPI_FILE).write_text(render(asyncapi()))
    sys.stdout.write(f"{len(EVENTS)} schemas and {ASYNCAPI_FILE}\n")
    return 0


def _breaking_changes(event_class: type[Event]) -> list[str]:
    file = schema_file(event_class)
    if not file.exists():
        return []
    found = incompatibilities(msgspec.json.decode(file.read_bytes()), schema_of(event_class))
    return [f"{event_class.type}: {problem}" for problem in found]


if __name__ == "__main__":
    sys.exit(main())
