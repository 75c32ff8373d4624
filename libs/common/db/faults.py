"""Which database errors pass by themselves, so that the same work can be tried again."""

import asyncio

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_TRANSIENT_STATES = (
    "08",  # connection exceptions
    "40001",  # serialization failure
    "40P01",  # deadlock detected
    "53",  # insufficient resources (connections, memory, disk)
    "55P03",  # lock not available within lock_timeout
    "57014",  # statement timeout
    "57P",  # shutdown, crash recovery, cannot connect now
    "25P03",  # idle in transaction timeout
    "25P04",  # transaction timeout
)


def is_transient(error: BaseException) -> bool:
    """
    Tell whether `error` says "not now" rather than "never".

    Covers asyncpg errors, the same wrapped by SQLAlchemy, an exhausted pool, refused or broken
    connections and timeouts.
    """
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig.__cause__ if error.orig is not None else None
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        return _is_transient_state(state) or (cause is not None and is_transient(cause))
    if isinstance(error, asyncpg.PostgresError):
        return _is_transient_state(error.sqlstate)
    if isinstance(error, asyncpg.InternalClientError):
        # The driver lost track of its connection: it was cut in the middle of an operation, and is not used again.
        return True
    if isinstance(error, asyncpg.InterfaceError):
        # The driver says this when the server went away under a live connection object.
        return "closed" in str(error) or "connection" in str(error)
    return isinstance(error, PoolTimeoutError | OSError | TimeoutError | asyncio.TimeoutError)


def _is_transient_state(state: str | None) -> bool:
    return state is not None and state.startswith(_TRANSIENT_STATES)
