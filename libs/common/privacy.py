"""What may be told of people where nothing can be taken back: on the bus, and in services that need only a name."""

import hashlib
import hmac
import re
from functools import lru_cache
from typing import Final, Self

# What stands where something of a person stood.
ERASED: Final = "erased"
# What people wrote is published only if it looks like a code; a sentence may say anything of anybody.
WITHHELD: Final = "withheld"

_CODE: Final = re.compile(r"[a-z0-9][a-z0-9:./-]{0,63}")
_FORM: Final = re.compile(r"p-[0-9a-f]{32}")
_BYTES: Final = 16
_LOCAL_KEY: Final = b"only for a machine that nobody else can reach"
# The events of an order name its customer several times, shortly after each other.
_REMEMBERED_MAX: Final = 10_000


class Pseudonyms:
    """
    Makes the pseudonym of an id: HMAC-SHA-256 under the shop's key, cut to 128 bits.

    The same id has the same pseudonym in every service, and nobody without the key can tell which. The key is never
    changed: under another one, nobody would be who they were.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is secret, and the same in all services."""
        self._key = key
        self.of = lru_cache(maxsize=_REMEMBERED_MAX)(self._of)

    @classmethod
    def local(cls) -> Self:
        """Return those of a stack without a key file, such as a test's: they hide nothing."""
        return cls(_LOCAL_KEY)

    def _of(self, name: str) -> str:
        """Return the pseudonym of an id."""
        digest = hmac.digest(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"p-{digest[:_BYTES].hex()}"

    def of_known(self, name: str) -> str:
        """Return the pseudonym of what may be one already, as in events from before there were any."""
        return name if is_pseudonym(name) else self.of(name)


def is_pseudonym(name: str) -> bool:
    """Tell by its form whether a name is a pseudonym."""
    return _FORM.fullmatch(name) is not None


def told(text: str) -> str:
    """Return what may be published of something that somebody wrote."""
    return text if _CODE.fullmatch(text) else WITHHELD
