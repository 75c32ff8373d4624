"""
Which partition a key belongs to, as all of Kafka's clients agree.

MurmurHash2 by Austin Appleby, 32 bits, with the seed of Kafka's Java client; aiokafka has it too, at twice the
time, and it runs once for every published event.

Of many keys of one length, as ids are, the hashes are computed together: each key has 64 bits of one large number,
so that a step of the algorithm is one multiplication for all of them, and no product reaches its neighbour.
"""

from array import array
from collections.abc import Iterable
from functools import lru_cache
from struct import iter_unpack, unpack
from sys import byteorder
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_32_BITS: Final = 0xFFFF_FFFF


# Fewer are quicker one by one.
_TOGETHER_MIN: Final = 32
_WORD_BYTES: Final = 4
_LANE_BYTES: Final = 8


def hashes_of(keys: Iterable[bytes]) -> dict[bytes, int]:
    """Return the hash of each key (see `hash_of`)."""
    by_length: dict[int, list[bytes]] = {}
    for key in dict.fromkeys(keys):
        by_length.setdefault(len(key), []).append(key)
    hashes: dict[bytes, int] = {}
    for length, alike in by_length.items():
        if len(alike) < _TOGETHER_MIN or length % _WORD_BYTES:
            hashes.update((key, hash_of(key)) for key in alike)
        else:
            hashes.update(zip(alike, _hashes_together(alike, length), strict=True))
    return hashes


def _hashes_together(keys: list[bytes], length: int) -> Iterable[int]:
    count = len(keys)
    words_each = length // _WORD_BYTES
    words = unpack(f"<{count * words_each}I", b"".join(keys))
    ones = int.from_bytes(b"\x01\0\0\0\0\0\0\0" * count, "little")
    low_32, low_19, low_17, low_8 = (ones * (2**bits - 1) for bits in (32, 19, 17, 8))
    value = ones * (_SEED ^ length)
    for place in range(words_each):
        lanes = array("Q", words[place::words_each])
        if byteorder == "big":
            lanes.byteswap()
        mixed = int.from_bytes(lanes.tobytes(), "little") * _M & low_32
        mixed = (mixed ^ mixed >> 24 & low_8) * _M & low_32
        value = value * _M & low_32 ^ mixed
    value = (value ^ value >> 13 & low_19) * _M & low_32
    value = (value ^ value >> 15 & low_17) & ones * 0x7FFF_FFFF
    return unpack(f"<{count}Q", value.to_bytes(count * _LANE_BYTES, "little"))


@lru_cache(maxsize=65_536)
def hash_of(key: bytes) -> int:
    """Return the hash of a key, from 0 to 2**31 - 1: modulo the number of partitions, it is the key's partition."""
    length = len(key)
    whole = length & ~3
    value = _SEED ^ length
    for (word,) in iter_unpack("<I", key[:whole]):
        mixed = word * _M & _32_BITS
        value = value * _M & _32_BITS ^ (mixed ^ mixed >> 24) * _M & _32_BITS
    if length > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * _M & _32_BITS
    value = (value ^ value >> 13) * _M & _32_BITS
    return (value ^ value >> 15) & 0x7FFF_FFFF
