"""Processes, and what can happen to them at any await."""

import asyncio
import random
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.simulation.loop import SeededLoop, VirtualClock


class Link(StrEnum):
    """What a process talks to."""

    DATABASE = "database"
    BUS = "bus"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Rates:
    """How probable each fault is at one await, while faults are on."""

    crash: float = 0.0
    disconnect: float = 0.0
    lost_answer: float = 0.0
    slow: float = 0.0


class Violated(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True, eq=False)
class Process:
    """
    One life of a process.

    What is dead has no effect on anything outside: every await on the outside ends in a cancellation, whatever its
    `finally` blocks try.
    """

    world: "World"
    name: str
    is_alive: bool = True
    cut_off: set[Link] = field(default_factory=set)
    on_death: list[Callable[[], None]] = field(default_factory=list)
    on_cut: dict[Link, list[Callable[[], None]]] = field(default_factory=dict)
    # What the outside gives up when it has not heard of the process for long.
    on_silence: list[tuple[Link, float, Callable[[], None]]] = field(default_factory=list)
    paused_since: float | None = None
    _resumed: asyncio.Event = field(default_factory=asyncio.Event)
    # In order, unlike a set of what has no order of its own.
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a component of this process; its end by a fault ends the process."""

        async def until_dead() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, the process ends by it
                if self.is_alive:
                    self.world.note(f"{self.name}: {error!r} at {_place(error)}")
                    self.world.faults_of_code.append(f"{self.name}: {error!r}")
                    self.die()

        self._tasks.append(self.world.loop.create_task(until_dead()))

    def die(self) -> None:
        """End at once: nothing is flushed, what was open outside is given up."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.world.note(f"{self.name} dies")
        for callback in list(self.on_death):
            callback()
        self._resumed.set()
        current = asyncio.current_task(self.world.loop)
        for task in self._tasks:
            if task is not current:
                task.cancel()

    def pause(self) -> None:
        """Stand still until `resume`, as if stopped by a signal."""
        if self.paused_since is None:
            self.world.note(f"{self.name} stands still")
            self.paused_since = self.world.loop.time()
            self._resumed.clear()
            for link, seconds, callback in list(self.on_silence):
                self.world.loop.call_later(seconds, self._if_still_silent, link, callback)

    def resume(self) -> None:
        """Go on."""
        self.paused_since = None
        self._resumed.set()

    def cut(self, link: Link) -> None:
        """Lose the connections to one system."""
        self.world.note(f"{self.name} loses the {link}")
        self.cut_off.add(link)
        for callback in list(self.on_cut.get(link, ())):
            callback()
        for silent, seconds, callback in list(self.on_silence):
            if silent is link:
                self.world.loop.call_later(seconds, self._if_still_silent, link, callback)

    async def awaits(self, link: Link, *, may_fail: bool = True) -> None:
        """Be at an await on the outside: anything may happen here."""
        world = self.world
        rates = world.rates
        chance = world.chance
        self._check()
        draw = chance.random()
        # Mostly at once, which still lets whoever is ready come first.
        await asyncio.sleep(chance.uniform(0.2, 3.0) if draw < rates.slow else max(0.0, draw - 0.7) * 0.02)
        self._check()
        while self.paused_since is not None:
            await self._resumed.wait()
            self._check()
        if rates.crash and chance.random() < rates.crash:
            self.die()
            raise asyncio.CancelledError
        if link in self.cut_off or (may_fail and rates.disconnect and chance.random() < rates.disconnect):
            raise ConnectionResetError(link)

    def _if_still_silent(self, link: Link, callback: Callable[[], None]) -> None:
        if self.is_alive and (self.paused_since is not None or link in self.cut_off):
            callback()

    def _check(self) -> None:
        if not self.is_alive:
            raise asyncio.CancelledError


@dataclass(slots=True, eq=False)
class World:
    """One run: everything in it that is not code comes from `seed`."""

    seed: int
    is_traced: bool = False
    chance: random.Random = field(init=False)
    loop: SeededLoop = field(init=False)
    clock: VirtualClock = field(init=False)
    rates: Rates = field(default_factory=Rates)
    # Faults of code, which no fault of the world explains.
    faults_of_code: list[str] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the loop of this seed."""
        self.chance = random.Random(self.seed)  # noqa: S311 - to be repeated, not to be secret
        self.loop = SeededLoop(self.chance)
        self.clock = VirtualClock(self.loop)

    def meet(self, path: str) -> None:
        """Count a rare path, so that a run can tell that it was there."""
        self.met[path] = self.met.get(path, 0) + 1

    def note(self, text: str) -> None:
        """Say what happens, for whoever looks at one seed."""
        if self.is_traced:
            print(f"{self.loop.seconds:9.3f}  {text}", flush=True)  # noqa: T201 - what `--trace` is for


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames[-3:][::-1])
