"""`python -m libs.common.messaging`: topics and dead letters from the command line."""

import argparse
import asyncio
import sys

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.events.topics import ALL_TOPICS
from libs.common.messaging.redrive import replay
from libs.common.messaging.topics import create_topics


class _BusSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="QUAYSIDE_", frozen=True)

    kafka_bootstrap_servers: str = Field(min_length=1)
    kafka_topic_prefix: str = ""


def main() -> int:
    """Run one command; 0 if it did what it says."""
    arguments = _parser().parse_args()
    settings = _BusSettings()
    if arguments.command == "topics":
        created = asyncio.run(
            create_topics(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                topics=ALL_TOPICS,
                topic_prefix=settings.kafka_topic_prefix,
            )
        )
        sys.stdout.write(f"created {len(created)} topics\n")
        return 0
    letters = asyncio.run(
        replay(
            group=arguments.group,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic_prefix=settings.kafka_topic_prefix,
            reason=arguments.reason,
            limit=arguments.limit,
            is_dry_run=arguments.dry_run,
        )
    )
    for letter in letters:
        sys.stdout.write(f"{letter.topic}\t{letter.event_type}\t{letter.event_id}\t{letter.reason}\t{letter.error}\n")
    verb = "waiting" if arguments.dry_run else "replayed"
    sys.stdout.write(f"{len(letters)} {verb}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m libs.common.messaging", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("topics", help="create every registered topic that does not exist")
    redrive = commands.add_parser("replay", help="publish a group's dead letters again")
    redrive.add_argument("group", help="consumer group, for example inventory.reservations")
    redrive.add_argument("--reason", help="only letters with this reason")
    redrive.add_argument("--limit", type=int, help="at most so many letters")
    redrive.add_argument("--dry-run", action="store_true", help="list them and publish nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
