"""Which database errors pass by themselves, so that the same work can be tried again."""

import asyncio
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from libs.common.telemetry import metrics

_CONNECTION: Final = "connection"
_TRANSIENT_STATES: Final = {
    "08": _CONNECTION,
    "40001": "serialization",
    "40P01": "deadlock",
    "53": "resources",  # connections, memory, disk
    "55P03": "lock-timeout",
    "57014": "statement-timeout",
    "57P": "shutdown",  # crash recovery, cannot connect now
    "25006": "read-only",  # it is being restored, or a replica that is not promoted yet
    "25P03": "idle-timeout",
    "25P04": "transaction-timeout",
}


def is_transient(error: BaseException) -> bool:
    """
    Tell whether `error` says "not now" rather than "never".

    Covers asyncpg errors, the same wrapped by SQLAlchemy, an exhausted pool, refused or broken
    connections and timeouts.
    """
    return transient_fault(error) is not None


def transient_fault(error: BaseException) -> str | None:
    """Name what passes by itself (deadlock, pool-timeout, connection, ...); None for what another try meets again."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return _CONNECTION
        cause = error.orig.__cause__ if error.orig is not None else None
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        return _fault_of_state(state) or (None if cause is None else transient_fault(cause))
    if isinstance(error, asyncpg.PostgresError):
        # A table has changed under a prepared plan: the driver has thrown its plans away.
        is_stale = isinstance(error, asyncpg.InvalidCachedStatementError)
        return "stale-plan" if is_stale else _fault_of_state(error.sqlstate)
    if _is_lost_connection(error):
        return _CONNECTION
    if isinstance(error, PoolTimeoutError):
        return "pool-timeout"
    return "timeout" if isinstance(error, TimeoutError | asyncio.TimeoutError) else None


def count_transient(error: BaseException, *, place: str) -> None:
    """Count a fault that is waited out or answered with 503; `place` is where it was met."""
    metrics.transient_faults_total.labels(place, transient_fault(error) or "other").inc()


def _is_lost_connection(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InterfaceError):
        # The driver says this when the server went away under a live connection object.
        return "closed" in str(error) or "connection" in str(error)
    # The driver lost track of its connection: it was cut in the middle of an operation, and is not used again.
    if isinstance(error, asyncpg.InternalClientError):
        return True
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def _fault_of_state(state: str | None) -> str | None:
    if state is None:
        return None
    return next((fault for prefix, fault in _TRANSIENT_STATES.items() if state.startswith(prefix)), None)
