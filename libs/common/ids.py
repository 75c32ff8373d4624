"""Time-ordered identifiers (UUID version 7, RFC 9562): unique without asking anyone, and index-friendly."""

import hashlib
import os
import random
import struct
import threading
import time
from uuid import UUID

# A UUID like any other that knows its text and its bytes without computing them in Python: a tenth of the time. All
# ids that come out of the database are of this class.
from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 - the name says how it differs

_COUNTER_BITS = 42
_VERSION_7 = 0x7 << 12
_VARIANT = 0b10 << 62
# Unique, not secret; seeded by the system, and again in a forked child, which must not repeat its parent's ids.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)
_pack = struct.Struct(">QQ").pack
_lock = threading.Lock()
_last_ms = 0
_counter = 0


def new_id() -> UUID:
    """
    Return a new UUIDv7, strictly increasing within this process.

    Layout (RFC 9562, 6.2 method 1): 48 bits of milliseconds, a counter that starts at a random value in each
    millisecond and is incremented within it, and random bits, so that ids made by one process sort in the
    order they were made.
    """
    global _last_ms, _counter  # noqa: PLW0603 - the counter is what makes ids of one process ordered
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms = now_ms
            # The top bit is left free so that a burst within one millisecond cannot overflow the counter.
            _counter = _random.getrandbits(_COUNTER_BITS - 1)
        else:
            _counter += 1
        milliseconds, counter = _last_ms, _counter
    # Two halves, which are quicker to shift than one number of 128 bits.
    high = milliseconds << 16 | _VERSION_7 | counter >> 30
    low = _VARIANT | (counter & 0x3FFF_FFFF) << 32 | _random.getrandbits(32)
    return QuickUUID(_pack(high, low))


def named_id(namespace: UUID, name: str) -> UUID:
    """Return the UUIDv5 of `name` within `namespace` (RFC 9562, 5.5): who asks twice is told the same."""
    digest = bytearray(hashlib.sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return QuickUUID(bytes(digest))


def quick_id(known: UUID) -> UUID:
    """Return an equal id that is quick to hash, to compare, and to write as text or bytes."""
    return known if type(known) is QuickUUID else QuickUUID(known.bytes)


def parse_id(text: str) -> UUID:
    """
    Read an id in any of the forms that RFC 9562 and Python know.

    :raises ValueError: if it is none.
    """
    try:
        return QuickUUID(text)
    except ValueError:
        # It knows digits with dashes or without.
        return UUID(text)
