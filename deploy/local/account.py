"""The unprivileged account that PostgreSQL runs as when the supervisor is root."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from deploy.local.refusal import Refusal

# `postgres` exists where Debian's server is installed; `nobody` exists everywhere.
CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    user_id: int
    group_id: int

    def may_enter(self, folder: Path) -> bool:
        """Whether this account can reach a folder through all of its parents."""
        resolved = folder.resolve()
        return all(self._may_search(parent) for parent in (resolved, *resolved.parents))

    def _may_search(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.user_id:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.group_id:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def unprivileged_account() -> Account | None:
    """Find the account to change to; none where the supervisor is not root and needs no change."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(user_id=entry.pw_uid, group_id=entry.pw_gid)
    raise Refusal("PostgreSQL does not run as root: run this as another user")
