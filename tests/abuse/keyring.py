"""The keys that are tried: those of the local stack's roles, and some that must open nothing."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.keys import SCOPES
from libs.common.http.keys import issue_key, read_keys, revoke_keys
from tests.abuse.routes import every_scope

LONG_AGO = datetime(2011, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """
    Keys by what they are.

    `only` have one scope each, `without` have every scope but one: together they show that a route asks for its scope
    and for no other.
    """

    roles: Mapping[str, str]
    only: Mapping[str, str]
    without: Mapping[str, str]
    worthless: Mapping[str, str]
    powerless: str

    @classmethod
    def issue(cls, file: Path) -> "Keyring":
        def key(name: str, *scopes: str, expires_at: datetime | None = None) -> str:
            return issue_key(file, name=name, scopes=scopes, environment="abuse", expires_at=expires_at)

        scopes = every_scope()
        powerless = key("powerless")
        worthless = {
            "expired": key("expired", "*", expires_at=LONG_AGO),
            "revoked": key("revoked", "*"),
            "of another shop": issue_key(file.with_name("other-keys.json"), name="ops", scopes=("*",)),
            "with a wrong checksum": f"{powerless[:-1]}{'0' if powerless[-1] != '0' else '1'}",
            "with another secret": key("guessed", "*"),
            "not a key at all": "hunter2",
            "hugely long": "qk_" + "a" * 8000,
            "a token without a signature": _unsigned_token(),
            "SQL": "' OR 1=1 --",
        }
        revoke_keys(file, name="revoked")
        _change_secret(file, name="guessed")
        return cls(
            roles={name: key(name, *held) for name, held in SCOPES.items()},
            only={scope: key(f"only {scope}", scope) for scope in scopes},
            without={scope: key(f"without {scope}", *(scopes - {scope})) for scope in scopes},
            worthless=worthless,
            powerless=powerless,
        )

    @property
    def ops(self) -> str:
        return self.roles["ops"]


def _change_secret(file: Path, *, name: str) -> None:
    """Let the id of a key and its checksum stay right, and its secret become wrong."""
    [key_id] = [identity for identity, stored in read_keys(file).items() if stored.name == name]
    content = json.loads(file.read_text("utf-8"))
    content[key_id]["hash"] = content[key_id]["hash"][::-1]
    file.write_text(json.dumps(content), "utf-8")


def _unsigned_token() -> str:
    """Return a token that says of itself that it needs no signature."""
    parts = ({"alg": "none"}, {"sub": "ops", "scope": "*"})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
