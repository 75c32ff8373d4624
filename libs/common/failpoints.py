"""
Named places at which a test can make a process die, fail or stand still.

They are off unless a process is started with `QUAYSIDE_FAILPOINTS`. Whoever is at such a place asks `failpoints.armed`
first, so that what is off costs one look at an attribute for each batch:

    if failpoints.armed:
        await failpoints.reach(Failpoint.RELAY_AFTER_PUBLISH, service)

A specification is `place[details]=action@hit`, several are divided by `;`:

    relay.after-publish=exit@3                  the third time
    consumer.after-commit[orders.saga]=exit     the first time in this group
    saga.after-commit[confirmed]=exit@2+        the second time that orders are confirmed, and every time after it
    clock=skew:-3600                            not a place: this process believes that it is an hour earlier
    relay.before-publish=sleep:0.5@1+           half a second each time

The details, divided by commas, must all be among those that the place tells of itself.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from libs.common.telemetry.logs import get_logger

# Told from a crash by whoever started the process.
EXIT_STATUS: Final = 86
_SECONDS_MAX: Final = 3600.0
_SPECIFICATION: Final = re.compile(
    r"(?P<place>[a-z.-]+)(?:\[(?P<details>[^\]]+)\])?=(?P<action>[a-z]+)(?::(?P<seconds>-?[0-9.]+))?"
    r"(?:@(?P<hit>[1-9][0-9]{0,8})(?P<onwards>\+)?)?"
)

log = get_logger()


class Failpoint(StrEnum):
    """The places, and in comments the details that each tells of itself."""

    # Service, route's path.
    API_BEFORE_HANDLING = "api.before-handling"
    # Service, route's path: a write has been committed, nobody has heard of it.
    API_BEFORE_ANSWER = "api.before-answer"
    # Service.
    RELAY_BEFORE_PUBLISH = "relay.before-publish"
    RELAY_AFTER_PUBLISH = "relay.after-publish"
    RELAY_AFTER_DELETE = "relay.after-delete"
    # Group; of each event in the batch its id, its type and its key.
    CONSUMER_BEFORE_HANDLING = "consumer.before-handling"
    # Group: the effect is decided and not committed.
    CONSUMER_BEFORE_COMMIT = "consumer.before-commit"
    # Group: the effect is committed, the offsets are not.
    CONSUMER_AFTER_COMMIT = "consumer.after-commit"
    # Each stage that an order enters.
    SAGA_BEFORE_COMMIT = "saga.before-commit"
    SAGA_AFTER_COMMIT = "saga.after-commit"
    # Provider; each kind of step: claimed, and the provider does not know; it knows, and nobody else does.
    PAYMENTS_BEFORE_CALL = "payments.before-call"
    PAYMENTS_AFTER_CALL = "payments.after-call"
    # Wherever somebody asks for the time.
    CLOCK = "clock"


class Action(StrEnum):
    """What happens at a place."""

    # Without a word to anybody: no handler runs, no buffer is flushed, no connection is closed.
    EXIT = "exit"
    # A fault of our own code.
    RAISE = "raise"
    # A passing fault.
    DISCONNECT = "disconnect"
    # What is at the place waits, the process goes on.
    SLEEP = "sleep"
    # The process stands still.
    BLOCK = "block"
    # The clock of the process is wrong by so many seconds, for as long as it lives.
    SKEW = "skew"


_LASTING: Final = frozenset({Action.SLEEP, Action.BLOCK, Action.SKEW})


class FailpointRaised(Exception):
    """A test asked for this fault."""


class InvalidFailpoint(ValueError):
    """A specification names no place, no action, or is not one."""


@dataclass(slots=True)
class _Trap:
    place: Failpoint
    details: frozenset[str]
    action: Action
    seconds: float
    hit: int
    onwards: bool
    hits: int = field(default=0)

    def is_sprung(self, details: frozenset[str]) -> bool:
        if not self.details <= details:
            return False
        self.hits += 1
        return self.hits == self.hit or (self.onwards and self.hits > self.hit)


class Failpoints:
    """The traps of this process."""

    def __init__(self) -> None:
        """Set none."""
        self.armed = False
        self._traps: dict[Failpoint, list[_Trap]] = {}
        # By how much this process is to tell the time wrong.
        self.clock_skew = timedelta()

    def arm(self, specification: str) -> None:
        """
        Set the traps of a specification in place of those before; an empty one sets none.

        :raises InvalidFailpoint: naming the part that cannot be understood.
        """
        self._traps = {}
        self.clock_skew = timedelta()
        for trap in _parse(specification):
            if trap.action is Action.SKEW:
                self.clock_skew += timedelta(seconds=trap.seconds)
            else:
                self._traps.setdefault(trap.place, []).append(trap)
            log.warning(
                "failpoint.armed",
                place=trap.place,
                details=sorted(trap.details),
                action=trap.action,
                seconds=trap.seconds,
                hit=trap.hit,
                onwards=trap.onwards,
            )
        self.armed = bool(self._traps)

    async def reach(self, place: Failpoint, *details: str) -> None:
        """Be at a place; do what was asked for there."""
        for trap in self._sprung(place, details):
            if trap.action is Action.SLEEP:
                await asyncio.sleep(trap.seconds)
            else:
                _act(trap)

    def reach_at_once(self, place: Failpoint, *details: str) -> None:
        """Be at a place where nothing can be awaited: `sleep` blocks there."""
        for trap in self._sprung(place, details):
            _act(trap)

    def _sprung(self, place: Failpoint, details: tuple[str, ...]) -> list[_Trap]:
        known = frozenset(details)
        sprung = [trap for trap in self._traps.get(place, ()) if trap.is_sprung(known)]
        for trap in sprung:
            log.warning("failpoint.reached", place=place, action=trap.action, hit=trap.hits)
        return sprung


# One for the process, armed once by its start.
failpoints: Final = Failpoints()


def check_specification(specification: str) -> str:
    """
    Return a specification that can be armed.

    :raises InvalidFailpoint: naming the part that cannot be understood.
    """
    _parse(specification)
    return specification


def _parse(specification: str) -> list[_Trap]:
    return [_trap(part.strip()) for part in specification.split(";") if part.strip()]


def _trap(part: str) -> _Trap:
    match = _SPECIFICATION.fullmatch(part)
    if match is None:
        raise InvalidFailpoint(f"{part!r} is not place[details]=action:seconds@hit")
    try:
        place, action = Failpoint(match["place"]), Action(match["action"])
        seconds = float(match["seconds"] or 0)
    except ValueError as error:
        raise InvalidFailpoint(f"{part!r}: {error}") from None
    if (action is Action.SKEW) != (place is Failpoint.CLOCK):
        raise InvalidFailpoint(f"{part!r}: skew is of the clock, and nothing else is")
    is_in_range = 0 < (abs(seconds) if action is Action.SKEW else seconds) <= _SECONDS_MAX
    if (action in _LASTING) != is_in_range:
        raise InvalidFailpoint(
            f"{part!r}: sleep, block and skew take up to {_SECONDS_MAX:.0f} seconds, nothing else does"
        )
    return _Trap(
        place=place,
        details=frozenset(detail.strip() for detail in (match["details"] or "").split(",") if detail.strip()),
        action=action,
        seconds=seconds,
        hit=int(match["hit"] or 1),
        onwards=match["onwards"] is not None,
    )


def _act(trap: _Trap) -> None:
    match trap.action:
        case Action.EXIT:
            os._exit(EXIT_STATUS)
        case Action.RAISE:
            raise FailpointRaised(trap.place)
        case Action.DISCONNECT:
            raise ConnectionResetError(trap.place)
        case Action.SLEEP | Action.BLOCK | Action.SKEW:
            time.sleep(trap.seconds)
