"""
The keys that protect personal data: one file for all services, made once and kept apart from the backups.

`pseudonyms` makes pseudonyms and is never changed. `secrets` encrypt what must be given back, such as signing secrets:
the first one encrypts, all of them decrypt. Without the file nobody can tell who a pseudonym stands for, no erasure
finds what it is about, and no webhook can be signed.
"""

import argparse
import base64
import binascii
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.fernet import Fernet

from libs.common.privacy import Pseudonyms
from libs.common.sealing import Seal

_KEY_BYTES: Final = 32


class DataKeysUnreadable(Exception):
    """The file of the data keys is missing or damaged; the message says which and what to do."""


class _File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    pseudonyms: str
    secrets: list[str] = []


class DataKeys:
    """The keys of a file."""

    def __init__(self, pseudonyms: Pseudonyms, seal: Seal) -> None:
        """Hold what was read."""
        self.pseudonyms = pseudonyms
        self.seal = seal

    @classmethod
    def of(cls, file: Path | None) -> "DataKeys":
        """
        Read `file`; without one, take keys that protect nothing, which settings allow outside production alone.

        :raises DataKeysUnreadable: if it cannot be read.
        """
        if file is None:
            return cls(Pseudonyms.local(), Seal(list))
        key = base64.b64decode(_read(file).pseudonyms)
        if len(key) < _KEY_BYTES:
            raise DataKeysUnreadable(f"the key of pseudonyms in {file} is shorter than {_KEY_BYTES} bytes")
        return cls(Pseudonyms(key), Seal(lambda: _read(file).secrets))


def _read(file: Path) -> _File:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_File)
        base64.b64decode(found.pseudonyms, validate=True)
        for secret in found.secrets:
            Fernet(secret)
    except FileNotFoundError:
        hint = f"make it with: python -m libs.common.data_keys create --file {file}"
        raise DataKeysUnreadable(f"the data keys {file} are not there; {hint}") from None
    except (OSError, msgspec.DecodeError, binascii.Error, ValueError):
        raise DataKeysUnreadable(f"the data keys {file} cannot be read") from None
    return found


def create_data_keys(file: Path) -> bool:
    """Make new keys unless there are some, readable by their owner alone; return whether they were made."""
    keys = _File(pseudonyms=base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode(), secrets=[_new_secret()])
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as target:
        target.write(msgspec.json.encode(keys) + b"\n")
    return True


def add_secret(file: Path) -> None:
    """
    Let a new key encrypt from now on; those before it go on decrypting.

    :raises DataKeysUnreadable: if there is no such file.
    """
    keys = _read(file)
    _replace(file, msgspec.structs.replace(keys, secrets=[_new_secret(), *keys.secrets]))


def drop_secrets(file: Path) -> int:
    """
    Forget all keys that no longer encrypt, and return how many those were.

    :raises DataKeysUnreadable: if there is no such file.
    """
    keys = _read(file)
    _replace(file, msgspec.structs.replace(keys, secrets=keys.secrets[:1]))
    return len(keys.secrets[1:])


def _new_secret() -> str:
    return Fernet.generate_key().decode()


def _replace(file: Path, keys: _File) -> None:
    """Write the file anew at once: a process may read it at any moment."""
    before = file.stat()
    successor = file.with_name(f"{file.name}.new")
    descriptor = os.open(successor, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        os.fchmod(descriptor, before.st_mode & 0o777)
        os.fchown(descriptor, before.st_uid, before.st_gid)
        target.write(msgspec.json.encode(keys) + b"\n")
        target.flush()
        os.fsync(descriptor)
    successor.replace(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the keys, or change those of secrets."""
    parser = argparse.ArgumentParser(prog="python -m libs.common.data_keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "create": "make the keys, unless there are some",
        "add-secret": "encrypt secrets under a new key from now on",
        "drop-secrets": "forget the keys that no longer encrypt",
    }
    for name, text in helps.items():
        commands.add_parser(name, help=text).add_argument("--file", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "create":
                done = "made" if create_data_keys(chosen.file) else "there already"
            case "add-secret":
                add_secret(chosen.file)
                done = "a new key encrypts"
            case _:
                done = f"{drop_secrets(chosen.file)} keys forgotten"
    except DataKeysUnreadable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{chosen.file}: {done}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
