"""
Which partition a key belongs to, as all of Kafka's clients agree.

MurmurHash2 by Austin Appleby, 32 bits, with the seed of Kafka's Java client; aiokafka has it too, at twice the
time, and it runs once for every published event.
"""

from functools import lru_cache
from struct import iter_unpack
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_32_BITS: Final = 0xFFFF_FFFF


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
