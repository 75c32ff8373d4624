"""
API keys: `qk_<environment>_<key id>_<secret>_<checksum>`, issued once and stored only as a keyed hash.

The prefix lets secret scanners find a leaked key, the checksum lets a mistyped one be refused without a look-up. The
secret has 160 bits, so a fast hash is right: there is nothing to guess. The pepper lies beside the key file, in a file
of its own, so that a copy of the key file alone verifies nothing.
"""

import argparse
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from libs.common.clock import Clock, SystemClock
from libs.common.http.auth import Principal
from libs.common.http.problems import Unauthenticated
from libs.common.telemetry.logs import get_logger

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_ID_LENGTH: Final = 8
_SECRET_LENGTH: Final = 27  # 62**27 > 2**160
_CHECKSUM_LENGTH: Final = 6
_KEY_PARTS: Final = 5
_RELOAD_INTERVAL_SECONDS: Final = 1.0
_PEPPER_BYTES: Final = 32
_REFUSAL: Final = "The key is not valid."
# Of one key many texts are valid, which differ in the name of the environment: they are not remembered without end.
_VERIFIED_MAX: Final = 10_000

_log = get_logger(__name__)


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of an issued key."""

    name: str
    hash: str
    scopes: tuple[str, ...]
    expires_at: datetime | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class _PresentedKey:
    key_id: str
    secret: str


class KeyFileUnreadable(Exception):
    """The key file or its pepper is missing or damaged; the message says which and what to do."""


class KeyStore:
    """The keys of a file, read again when the file changes (looked at once a second at most)."""

    def __init__(self, file: Path, *, clock: Clock | None = None) -> None:
        """
        Read `file` now.

        :raises KeyFileUnreadable: if it cannot be.
        """
        self._file = file
        self._clock = clock or SystemClock()
        self._pepper = _read_pepper(file)
        self._checked_at_seconds = self._clock.monotonic_seconds()
        self._version = _version_of(file)
        self._keys = read_keys(file)
        # By a hash of what was presented, so that no key lies in memory; all forgotten when the file changes.
        self._verified: dict[bytes, tuple[StoredKey, Principal]] = {}

    def authenticate(self, key: str) -> Principal:
        """
        Return the principal to whom `key` was issued.

        :raises Unauthenticated: if it is mistyped, unknown, revoked or expired; the answer does not say which.
        """
        self._reload_if_changed()
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        verified = self._verified.get(digest)
        if verified is None:
            stored = self._verify(key)
            verified = stored, Principal(stored.name, frozenset(stored.scopes))
            if len(self._verified) >= _VERIFIED_MAX:
                self._verified.clear()
            self._verified[digest] = verified
        stored, principal = verified
        if stored.expires_at is not None and stored.expires_at <= self._clock.now():
            raise Unauthenticated(_REFUSAL)
        return principal

    def _verify(self, key: str) -> StoredKey:
        presented = _parse(key)
        if presented is None:
            raise Unauthenticated(_REFUSAL)
        stored = self._keys.get(presented.key_id)
        expected = stored.hash if stored is not None else ""
        matches = hmac.compare_digest(_hash(self._pepper, presented.secret), expected)
        if stored is None or not matches or stored.disabled:
            raise Unauthenticated(_REFUSAL)
        return stored

    def _reload_if_changed(self) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._checked_at_seconds < _RELOAD_INTERVAL_SECONDS:
            return
        self._checked_at_seconds = now
        try:
            version = _version_of(self._file)
            if version != self._version:
                self._keys = read_keys(self._file)
                self._pepper = _read_pepper(self._file)
                self._version = version
                self._verified.clear()
        except KeyFileUnreadable as error:
            # The keys read last stay valid: a damaged file must not lock every caller out.
            _log.error("api_keys.reload_failed", error=str(error))


def read_keys(file: Path) -> dict[str, StoredKey]:
    """
    Return the keys of `file` by their ids.

    :raises KeyFileUnreadable: if it is missing or damaged.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, StoredKey])
    except FileNotFoundError:
        issue = f"python -m libs.common.http.keys issue --file {file} --name NAME --scopes SCOPES"
        raise KeyFileUnreadable(f"there is no key file {file}; make one with: {issue}") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise KeyFileUnreadable(f"the key file {file} cannot be read: {error}") from error


def issue_key(
    file: Path,
    *,
    name: str,
    scopes: Sequence[str],
    environment: str = "local",
    expires_at: datetime | None = None,
) -> str:
    """Add a key for `name` to `file`, made if absent, and return the key, which is stored nowhere."""
    key_id = _random_text(_KEY_ID_LENGTH)
    secret = _random_text(_SECRET_LENGTH)
    with _locked(file):
        pepper = _read_or_make_pepper(file)
        keys = read_keys(file) if file.exists() else {}
        keys[key_id] = StoredKey(name, _hash(pepper, secret), tuple(scopes), expires_at)
        _write_keys(file, keys)
    body = f"qk_{environment}_{key_id}_{secret}"
    return f"{body}_{_checksum(body)}"


def revoke_keys(file: Path, *, name: str | None = None, key_id: str | None = None) -> list[str]:
    """Disable the key with this id, or all keys of this name; return the ids of those disabled."""
    with _locked(file):
        keys = read_keys(file)
        chosen = [identity for identity, stored in keys.items() if identity == key_id or stored.name == name]
        for identity in chosen:
            keys[identity] = msgspec.structs.replace(keys[identity], disabled=True)
        _write_keys(file, keys)
    return chosen


def set_scopes(file: Path, *, name: str, scopes: Sequence[str]) -> list[str]:
    """Give the keys of this name these scopes instead of those they had; return the ids of those that change."""
    with _locked(file):
        keys = read_keys(file)
        chosen = [
            identity for identity, stored in keys.items() if stored.name == name and stored.scopes != tuple(scopes)
        ]
        for identity in chosen:
            keys[identity] = msgspec.structs.replace(keys[identity], scopes=tuple(scopes))
        if chosen:
            _write_keys(file, keys)
    return chosen


def _parse(key: str) -> _PresentedKey | None:
    parts = key.split("_")
    if len(parts) != _KEY_PARTS or parts[0] != "qk" or not key.isascii():
        return None
    body = key[: -_CHECKSUM_LENGTH - 1]
    if not hmac.compare_digest(_checksum(body), parts[-1]):
        return None
    return _PresentedKey(key_id=parts[2], secret=parts[3])


def _hash(pepper: bytes, secret: str) -> str:
    return hmac.digest(pepper, secret.encode(), hashlib.sha256).hex()


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _pepper_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.pepper")


def _read_pepper(file: Path) -> bytes:
    try:
        return bytes.fromhex(_pepper_file(file).read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise KeyFileUnreadable(f"the pepper {_pepper_file(file)} of the key file cannot be read: {error}") from error


def _read_or_make_pepper(file: Path) -> bytes:
    if not _pepper_file(file).exists():
        _write_private(_pepper_file(file), secrets.token_hex(_PEPPER_BYTES).encode() + b"\n")
    return _read_pepper(file)


def _version_of(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise KeyFileUnreadable(f"the key file {file} cannot be read: {error}") from error
    return status.st_mtime_ns, status.st_ino


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let one command at a time change the file: two that read before either writes would lose a key."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_keys(file: Path, keys: dict[str, StoredKey]) -> None:
    _write_private(file, json.dumps(msgspec.to_builtins(keys), indent=2).encode() + b"\n")


def _write_private(file: Path, content: bytes) -> None:
    # Replaced whole: a service that reloads at this moment sees the old file or the new one.
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    Path(temporary).replace(file)


def _environment(value: str) -> str:
    if not value or not all(letter in "abcdefghijklmnopqrstuvwxyz0123456789-" for letter in value):
        message = "must be lower-case letters, digits and hyphens"
        raise argparse.ArgumentTypeError(message)
    return value


def _scopes(value: str) -> list[str]:
    return [scope.strip() for scope in value.split(",") if scope.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m libs.common.http.keys", description="Manage API keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    issue = commands.add_parser("issue", help="make a key; prints it once, to stdout")
    issue.add_argument("--name", required=True, help="who will use it")
    issue.add_argument("--scopes", required=True, help="comma-separated, for example orders:read,orders:write")
    issue.add_argument("--environment", default="local", type=_environment)
    issue.add_argument("--expires-in-days", type=int)
    rescope = commands.add_parser("rescope", help="change what the keys of a name may do, without new keys")
    rescope.add_argument("--name", required=True, help="all keys of this name")
    rescope.add_argument("--scopes", required=True, help="comma-separated; in place of those they have")
    revoke = commands.add_parser("revoke", help="disable keys")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("--name", help="all keys of this name")
    which.add_argument("--key-id", help="the key with this id")
    listing = commands.add_parser("list", help="show what was issued, without secrets")
    for command in (issue, rescope, revoke, listing):
        command.add_argument("--file", required=True, type=Path)
    return parser


def main(arguments: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "issue":
                now = (clock or SystemClock()).now()
                days: int | None = options.expires_in_days
                key = issue_key(
                    options.file,
                    name=options.name,
                    scopes=_scopes(options.scopes),
                    environment=options.environment,
                    expires_at=None if days is None else now + timedelta(days=days),
                )
                sys.stdout.write(f"{key}\n")
            case "rescope":
                known = {stored.name for stored in read_keys(options.file).values()}
                changed = set_scopes(options.file, name=options.name, scopes=_scopes(options.scopes))
                sys.stderr.write(f"changed: {', '.join(changed) or 'none'}\n")
                return 0 if options.name in known else 1
            case "revoke":
                revoked = revoke_keys(options.file, name=options.name, key_id=options.key_id)
                sys.stderr.write(f"revoked: {', '.join(revoked) or 'none'}\n")
                return 0 if revoked else 1
            case _:
                for key_id, stored in read_keys(options.file).items():
                    state = "disabled" if stored.disabled else "active"
                    expiry = stored.expires_at.isoformat() if stored.expires_at else "never expires"
                    line = [key_id, stored.name, state, expiry, ",".join(stored.scopes)]
                    sys.stdout.write("\t".join(line) + "\n")
    except KeyFileUnreadable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
