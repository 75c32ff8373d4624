"""
Moves committed events from the outbox to the bus: claim, publish, delete after the broker's acknowledgement.

There is no cursor: identity values become visible out of order, so remembering a position would lose rows.
The relay publishes whatever is there, in id order, and deletes it. A crash in between publishes again, and
the consumers' inboxes drop the duplicate.
"""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from libs.common.clock import Clock
from libs.common.db import count_transient, is_transient
from libs.common.events.base import WireRecord
from libs.common.failpoints import Failpoint, failpoints
from libs.common.messaging.producer import BusProducer, PublishFailed
from libs.common.outbox.writer import BUNDLE_RECORDS_MAX, BUNDLE_TOPIC, bundle, records_of
from libs.common.pacing import WorkPace
from libs.common.telemetry.logs import get_logger
from libs.common.telemetry.metrics import (
    outbox_oldest_event_age_seconds,
    outbox_pending_events,
    outbox_published_events_total,
    relay_takeovers_total,
)

# One relay at a time per database: two would only publish duplicates, but in an order nobody promised.
_RELAY_LOCK = 0x52_45_4C_41_59  # "RELAY"
# A process that stands still would keep the lock for as long as its system answers for it. Longer than the longest
# publish, during which the connection is silent too.
_SILENCE_SECONDS_MAX = 40
_BATCH_EVENTS_MAX = 4_000
_BATCH_BUNDLES_MAX = _BATCH_EVENTS_MAX // BUNDLE_RECORDS_MAX
# What is written while it rests shares the next round; nobody notices the moment.
_PACE = WorkPace(interval_seconds=0.005, share_max=0.3, rest_seconds_max=0.1, items_plenty=400)
_POLL_SECONDS = 0.01
_POLL_IDLE_SECONDS = 0.1
_IDLE_AFTER_EMPTY_POLLS = 100
_LOCK_RETRY_SECONDS = 0.5
_RECONNECT_SECONDS = 0.5
_CONNECT_TIMEOUT_SECONDS = 5
_STATEMENT_TIMEOUT_SECONDS = 15
# Deleted rows stay in the index until vacuum; starting above them keeps the claim cheap. An id becomes visible late, by
# as long as its transaction goes on, and must then come before later ids of its key: so the floor rises to an id only
# when every transaction has ended that was under way some moments after that id was seen. The moments are for one that
# had taken an id and not yet a number of its own.
_FLOOR_SECONDS = 0.25
_SWEEP_SECONDS = 1.0
_BLOCKED_KEY_RETRY_SECONDS = 30.0
_MEASURE_SECONDS = 2.0

# No further than a few bundles, of which each holds many events.
_CLAIM = f"""
SELECT id, topic, key, headers, value FROM outbox_events
WHERE id > $1 AND NOT (key = ANY($2::bytea[])) AND NOT (id = ANY($3::bigint[])) AND id <= coalesce(
    (
        SELECT id FROM (
            SELECT id, topic FROM outbox_events WHERE id > $1 AND NOT (id = ANY($3::bigint[])) ORDER BY id LIMIT $4
        ) AS next
        WHERE topic = '{BUNDLE_TOPIC}' ORDER BY id OFFSET {_BATCH_BUNDLES_MAX - 1} LIMIT 1
    ),
    {2**63 - 1}
)
ORDER BY id LIMIT $4
"""  # noqa: S608 - made of constants
_SNAPSHOT = """
SELECT pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint
FROM pg_current_snapshot() AS snapshot
"""
_LAST_EPOCH = "SELECT max(epoch) FROM relay_leases"
_REDUCE = "UPDATE outbox_events SET headers = $2, value = $3 WHERE id = $1"
_DELETE = "DELETE FROM outbox_events WHERE id = ANY($1::bigint[])"
_MEASURE = f"""
SELECT coalesce(sum(CASE topic WHEN '{BUNDLE_TOPIC}' THEN convert_from(headers, 'UTF8')::bigint ELSE 1 END), 0)::bigint,
       coalesce(extract(epoch FROM now() - min(created_at)), 0)
FROM outbox_events
"""  # noqa: S608 - made of constants

log = get_logger()


class _Claimed(NamedTuple):
    """A row with its record, or with those of a bundle."""

    id: int
    is_bundle: bool
    records: list[WireRecord]


@dataclass(slots=True)
class _Floor:
    """
    Above which id there may be rows.

    `rising_to` becomes the floor when all transactions below `horizon` have ended; `seen` is what it rises to after.
    """

    id: int = 0
    rising_to: int = 0
    horizon: int = 0
    seen: int = 0

    def rise(self, *, oldest_running: int, next_transaction: int, last_id: int) -> None:
        """Follow what was seen; transactions are numbered in the order in which they first write."""
        if oldest_running >= self.horizon:
            self.id, self.rising_to, self.horizon = self.rising_to, self.seen, next_transaction
            self.seen = last_id


class Relay:
    """The relay of one service; several may run, one at a time works and the others stand by."""

    def __init__(self, *, service: str, database_url: str, producer: BusProducer, clock: Clock) -> None:
        """Connect nothing yet; `producer` is the relay's own, `database_url` gets one connection, never pooled."""
        self._service = service
        self._database_url = database_url
        self._producer = producer
        self._clock = clock
        self._wake = asyncio.Event()
        self._blocked_until: dict[bytes, float] = {}
        # Bundles in which nothing is left but records of blocked keys.
        self._held_until: dict[int, float] = {}
        self._floor = _Floor()
        self._last_id = 0
        self._floor_moved_at = 0.0
        self._swept_at = 0.0
        self._measured_at = 0.0
        # Of the last time that this relay had the lock.
        self._epoch: int | None = None
        # Shown from the start: an increase is seen only of a counter that was there before.
        relay_takeovers_total.labels(service)

    def wake(self) -> None:
        """Look for rows now; called after a commit in the same process."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set; database and broker faults are waited out."""
        async with self._producer:
            while not stop.is_set():
                try:
                    await self._hold_lock_and_relay(stop)
                except Exception as error:
                    # Anything that is not a passing fault ends the process; the rows are still there.
                    if not (isinstance(error, PublishFailed) or is_transient(error)):
                        raise
                    if is_transient(error):
                        count_transient(error, place="relay")
                    log.warning("relay.interrupted", error=repr(error))
                    await _wait(stop, _RECONNECT_SECONDS)

    async def _hold_lock_and_relay(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._database_url,
            timeout=_CONNECT_TIMEOUT_SECONDS,
            command_timeout=_STATEMENT_TIMEOUT_SECONDS,
            server_settings={
                "application_name": f"{self._service}-relay",
                "idle_session_timeout": str(_SILENCE_SECONDS_MAX * 1_000),
            },
        )
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _RELAY_LOCK):
                if await _wait(stop, _LOCK_RETRY_SECONDS):
                    return
            last_epoch: int | None = await connection.fetchval(_LAST_EPOCH)
            epoch: int = await connection.fetchval(
                "INSERT INTO relay_leases (holder) VALUES ($1) RETURNING epoch",
                f"{socket.gethostname()}:{os.getpid()}",
            )
            if last_epoch not in {None, self._epoch}:
                relay_takeovers_total.labels(self._service).inc()
            self._epoch = epoch
            log.info("relay.lock_acquired", epoch=epoch)
            self._floor, self._last_id = _Floor(), 0
            await self._relay(connection, stop)
        finally:
            # Closing may itself wait for a dead server; the lock dies with the connection either way.
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                await connection.close(timeout=1)

    async def _relay(self, connection: asyncpg.Connection, stop: asyncio.Event) -> None:
        empty_polls = 0
        while not stop.is_set():
            self._wake.clear()
            # Before the batch: what cannot be published must show in the figures.
            await self._measure(connection)
            started_at = self._clock.monotonic_seconds()
            relayed = await self._relay_batch(connection)
            if relayed:
                empty_polls = 0
                worked_seconds = self._clock.monotonic_seconds() - started_at
                rest_seconds = _PACE.rest_seconds(items=relayed, worked_seconds=worked_seconds)
                if rest_seconds:
                    await _wait(stop, rest_seconds)
                continue
            empty_polls += 1
            idle = empty_polls > _IDLE_AFTER_EMPTY_POLLS
            await self._pause(stop, _POLL_IDLE_SECONDS if idle else _POLL_SECONDS)
        # One last pass, so that an orderly stop leaves nothing behind that was committed before it.
        while await self._relay_batch(connection):
            pass

    async def _relay_batch(self, connection: asyncpg.Connection) -> int:
        now = self._clock.monotonic_seconds()
        floor = await self._current_floor(connection, now)
        self._blocked_until = {key: until for key, until in self._blocked_until.items() if until > now}
        self._held_until = {row_id: until for row_id, until in self._held_until.items() if until > now}
        rows = await connection.fetch(
            _CLAIM, floor, list(self._blocked_until), list(self._held_until), _BATCH_EVENTS_MAX
        )
        if not rows:
            return 0
        claimed = [_claimed(row) for row in rows]
        if failpoints.armed:
            await failpoints.reach(Failpoint.RELAY_BEFORE_PUBLISH, self._service)
        published, left = await self._publish(claimed)
        if failpoints.armed:
            await failpoints.reach(Failpoint.RELAY_AFTER_PUBLISH, self._service)
        await connection.execute(_DELETE, [one.id for one in claimed if one.id not in left])
        for one in claimed:
            if one.is_bundle and one.id in left:
                await self._hold(connection, one, left[one.id])
        if failpoints.armed:
            await failpoints.reach(Failpoint.RELAY_AFTER_DELETE, self._service)
        self._last_id = max(self._last_id, claimed[-1].id)
        for topic, events in published.items():
            outbox_published_events_total.labels(self._service, topic).inc(events)
        return published.total()

    async def _current_floor(self, connection: asyncpg.Connection, now: float) -> int:
        """Return above which id to look: that of some moments ago, or from time to time none."""
        if now - self._floor_moved_at >= _FLOOR_SECONDS and self._last_id > self._floor.id:
            self._floor_moved_at = now
            [(oldest, following)] = await connection.fetch(_SNAPSHOT)
            self._floor.rise(oldest_running=oldest, next_transaction=following, last_id=self._last_id)
        if now - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = now
            return 0
        return self._floor.id

    async def _publish(self, claimed: Sequence[_Claimed]) -> tuple[Counter[str], dict[int, list[WireRecord]]]:
        """Return how many records of each topic the broker has, and by row those that it does not have."""
        blocked = set(self._blocked_until)
        outcomes = iter(
            await self._producer.publish_keyed(
                [record for one in claimed for record in one.records if record.key not in blocked]
            )
        )
        now = self._clock.monotonic_seconds()
        published = Counter[str]()
        left: dict[int, list[WireRecord]] = {}
        for one in claimed:
            for record in one.records:
                # Only in a bundle: rows of one record are claimed by their keys.
                is_blocked = record.key in blocked
                refusal = None if is_blocked else next(outcomes)
                if refusal is not None:
                    self._blocked_until[record.key] = now + _BLOCKED_KEY_RETRY_SECONDS
                    log.error("relay.key_blocked", topic=record.topic, outbox_id=one.id, error=refusal)
                if is_blocked or refusal is not None:
                    left.setdefault(one.id, []).append(record)
                else:
                    published[record.topic] += 1
        return published, left

    async def _hold(self, connection: asyncpg.Connection, bundled: _Claimed, left: Sequence[WireRecord]) -> None:
        """Keep in a bundle what is `left` of it, and the bundle until the first of its keys may be tried again."""
        if len(left) < len(bundled.records):
            await connection.execute(_REDUCE, bundled.id, *bundle(left))
        self._held_until[bundled.id] = min(self._blocked_until[record.key] for record in left)

    async def _measure(self, connection: asyncpg.Connection) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._measured_at < _MEASURE_SECONDS:
            return
        self._measured_at = now
        [(pending, age_seconds)] = await connection.fetch(_MEASURE)
        outbox_pending_events.labels(self._service).set(pending)
        outbox_oldest_event_age_seconds.labels(self._service).set(float(age_seconds))

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        if stop.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _claimed(row: asyncpg.Record) -> _Claimed:
    outbox_id, topic, key, headers, value = row
    return _Claimed(outbox_id, topic == BUNDLE_TOPIC, records_of(topic, key, headers, value))


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `stop` for at most `seconds`; tell whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
