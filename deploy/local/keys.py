"""The API keys of a local stack: one per kind of caller, made on the first start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local.private_files import write_private
from libs.common.http.keys import issue_key, set_scopes

# The keys of personal data, beside those of callers.
DATA_KEYS_FILE: Final = "data-keys.json"

# What each caller of a shop may do; an operator may do everything.
SCOPES: Mapping[str, tuple[str, ...]] = {
    "storefront": (
        "catalog:read",
        "orders:write",
        "orders:read",
        "reservations:read",
        "reservations:write",
        "behaviour:write",
        "recommendations:read",
        "availability:read",
        "shipments:read",
    ),
    "warehouse": (
        "stock:write",
        "stock:read",
        "reservations:read",
        "availability:read",
        "shipments:write",
        "shipments:read",
        "returns:write",
    ),
    "ops": ("*",),
}


def mint_keys(folder: Path) -> Path:
    """
    Make the keys that are missing and return the file of their hashes, which services read.

    Keys of an earlier version keep working and may do what those of this version may.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashes = folder / "keys.json"
    for name, scopes in SCOPES.items():
        file = folder / name
        if not file.exists():
            write_private(file, issue_key(hashes, name=name, scopes=scopes))
        else:
            set_scopes(hashes, name=name, scopes=scopes)
    return hashes
