"""Pseudo-random draws that depend on names alone: neither order nor process changes them."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice")

_DRAW_BYTES = 8


def draw(*names: object) -> float:
    """Return a number in [0, 1) that is always the same for the same names."""
    key = "\x1f".join(map(str, names)).encode()
    digest = hashlib.blake2b(key, digest_size=_DRAW_BYTES).digest()
    # 53 bits are what a float holds exactly; more could round up to 1.
    return (int.from_bytes(digest) >> 11) / (1 << 53)


def pick(choices: Sequence[Choice], *names: object) -> Choice:
    """Return one of `choices`, each equally likely."""
    return choices[int(draw(*names) * len(choices))]
