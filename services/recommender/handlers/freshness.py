"""Answers that may be a moment old, so that a thousand requests for one product read it once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from libs.common.clock import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Read(Generic[Value]):
    """A value and when its reading began."""

    value: Value
    as_of: datetime
    read_at_seconds: float


class RecentReads(Generic[Key, Value]):
    """Remembers what `load` returned for `age_seconds_max`, for the `entries_max` keys last used."""

    def __init__(
        self,
        load: Callable[[Key], Awaitable[Value]],
        *,
        clock: Clock,
        age_seconds_max: float,
        entries_max: int,
    ) -> None:
        """Start empty."""
        self._load = load
        self._clock = clock
        self._age_seconds_max = age_seconds_max
        self._entries_max = entries_max
        self._reads: OrderedDict[Key, Read[Value]] = OrderedDict()

    async def get(self, key: Key) -> Read[Value]:
        """Return what is remembered of `key`, or load it."""
        return self._fresh(key) or await self._read(key)

    async def get_all(self, keys: Sequence[Key]) -> list[Read[Value]]:
        """Return what is remembered of each of `keys`, and load the rest at once."""
        fresh = [self._fresh(key) for key in keys]
        missing = [key for key, read in zip(keys, fresh, strict=True) if read is None]
        loaded = iter(await asyncio.gather(*map(self._read, missing)))
        return [read or next(loaded) for read in fresh]

    def _fresh(self, key: Key) -> Read[Value] | None:
        known = self._reads.get(key)
        if known is None or self._clock.monotonic_seconds() - known.read_at_seconds >= self._age_seconds_max:
            return None
        self._reads.move_to_end(key)
        return known

    async def _read(self, key: Key) -> Read[Value]:
        read_at_seconds, as_of = self._clock.monotonic_seconds(), self._clock.now()
        read = Read(await self._load(key), as_of, read_at_seconds)
        self._reads[key] = read
        self._reads.move_to_end(key)
        if len(self._reads) > self._entries_max:
            self._reads.popitem(last=False)
        return read
