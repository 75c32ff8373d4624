"""One naming convention for every table, so that constraints can be named in errors and migrations."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from sqlalchemy import Connection, MetaData

_CONVENTION = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


def new_metadata() -> MetaData:
    """Return the MetaData that a service declares its tables on."""
    return MetaData(naming_convention=_CONVENTION)


def one_of(column: str, allowed: Iterable[StrEnum]) -> str:
    """Return the condition that a column holds one of the values of an enumeration."""
    return f"{column} IN ({', '.join(repr(str(one)) for one in allowed)})"


class MigrationOperations(Protocol):
    """What the makers of shared tables need of `alembic.op`."""

    def get_bind(self) -> Connection:
        """Return the connection that the migration runs on."""
        ...

    def execute(self, sqltext: str) -> None:
        """Run a statement."""
        ...
