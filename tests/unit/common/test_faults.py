import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from libs.common.db import is_transient


def wrapped(cause: Exception) -> DBAPIError:
    original = Exception("as the dialect raises it")
    original.__cause__ = cause
    return DBAPIError("SELECT 1", {}, original)


class TestIsTransient:
    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.DeadlockDetectedError("deadlock"),
            asyncpg.SerializationError("serialize"),
            asyncpg.LockNotAvailableError("lock_timeout"),
            asyncpg.QueryCanceledError("statement_timeout"),
            asyncpg.AdminShutdownError("restart"),
            asyncpg.CannotConnectNowError("starting up"),
            asyncpg.TooManyConnectionsError("full"),
            asyncpg.DiskFullError("disk"),
            asyncpg.ConnectionDoesNotExistError("gone"),
            asyncpg.InterfaceError("connection is closed"),
            asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
            wrapped(asyncpg.DeadlockDetectedError("deadlock")),
            PoolTimeoutError("pool"),
            ConnectionRefusedError("refused"),
            TimeoutError("slow"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_is_true_of_what_passes_by_itself(self, error: Exception) -> None:
        assert is_transient(error)

    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.CheckViolationError("reserved <= on_hand"),
            asyncpg.UniqueViolationError("twice"),
            asyncpg.CharacterNotInRepertoireError("NUL"),
            wrapped(asyncpg.CheckViolationError("reserved <= on_hand")),
            LookupError("a bug"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_is_false_of_what_another_try_meets_again(self, error: Exception) -> None:
        assert not is_transient(error)
