"""
The keys that protect personal data: one file for all services, made once and kept apart from the backups.

`pseudonyms` makes pseudonyms and is never changed. Without the file nobody can tell who a pseudonym stands for, and no
erasure finds what it is about.
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

from libs.common.privacy import Pseudonyms

_KEY_BYTES: Final = 32


class DataKeysUnreadable(Exception):
    """The file of the data keys is missing or damaged; the message says which and what to do."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    pseudonyms: str


class DataKeys:
    """The keys of a file."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        """Hold what was read."""
        self.pseudonyms = pseudonyms

    @classmethod
    def of(cls, file: Path | None) -> "DataKeys":
        """
        Read `file`; without one, take keys that protect nothing, which settings allow outside production alone.

        :raises DataKeysUnreadable: if it cannot be read.
        """
        if file is None:
            return cls(Pseudonyms.local())
        try:
            found = msgspec.json.decode(file.read_bytes(), type=_File)
            key = base64.b64decode(found.pseudonyms, validate=True)
        except FileNotFoundError:
            hint = f"make it with: python -m libs.common.data_keys create --file {file}"
            raise DataKeysUnreadable(f"the data keys {file} are not there; {hint}") from None
        except (OSError, msgspec.DecodeError, binascii.Error, ValueError):
            raise DataKeysUnreadable(f"the data keys {file} cannot be read") from None
        if len(key) < _KEY_BYTES:
            raise DataKeysUnreadable(f"the key of pseudonyms in {file} is shorter than {_KEY_BYTES} bytes")
        return cls(Pseudonyms(key))


def create_data_keys(file: Path) -> bool:
    """Make new keys unless there are some, readable by their owner alone; return whether they were made."""
    content = msgspec.json.encode(_File(pseudonyms=base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as target:
        target.write(content + b"\n")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the keys."""
    parser = argparse.ArgumentParser(prog="python -m libs.common.data_keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make the keys, unless there are some")
    create.add_argument("--file", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    made = create_data_keys(chosen.file)
    sys.stdout.write(f"{chosen.file}: {'made' if made else 'there already'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
