"""What a database keeps for its service alone, and must give back: from a copy of the database nobody reads it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

_PREFIX: Final = "sealed:"
_REMEMBERED_MAX: Final = 1_024


class SealBroken(Exception):
    """What is sealed was sealed under a key that is not there, or has been changed since."""

    def __init__(self) -> None:
        """Say what to look for."""
        super().__init__("it is sealed under none of the keys in the file of the data keys")


class Seal:
    """
    Encrypts texts with Fernet (AES-128-CBC and HMAC-SHA-256, under keys of 32 bytes in URL-safe base64).

    The first key seals, every key opens. What was written before there was a key is open, and stays readable.
    """

    def __init__(self, read_keys: Callable[[], Sequence[str]]) -> None:
        """`read_keys` is asked again for what no known key opens: another process may know a newer one."""
        self._read_keys = read_keys
        self._keys = tuple(read_keys())
        # The same few secrets are opened for every message.
        self._opened = lru_cache(maxsize=_REMEMBERED_MAX)(self._decrypted)

    def seal(self, text: str) -> str:
        """Encrypt `text`; without a key it stays as it is."""
        return _PREFIX + Fernet(self._keys[0]).encrypt(text.encode()).decode() if self._keys else text

    def open(self, stored: str) -> str:
        """
        Return what was sealed.

        :raises SealBroken: if no key opens it.
        """
        if not stored.startswith(_PREFIX):
            return stored
        try:
            return self._opened(stored)
        except SealBroken:
            self._keys = tuple(self._read_keys())
            return self._opened(stored)

    def is_current(self, stored: str) -> bool:
        """Whether it is as `seal` would leave it now."""
        is_sealed = stored.startswith(_PREFIX)
        if not self._keys:
            return not is_sealed
        return is_sealed and _opens(self._keys[0], stored) is not None

    def _decrypted(self, stored: str) -> str:
        for key in self._keys:
            if (text := _opens(key, stored)) is not None:
                return text
        raise SealBroken


def _opens(key: str, stored: str) -> str | None:
    try:
        return Fernet(key).decrypt(stored.removeprefix(_PREFIX)).decode()
    except InvalidToken:
        return None
