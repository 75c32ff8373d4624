import asyncpg
import pytest
from prometheus_client import REGISTRY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from libs.common.db import count_transient, is_transient
from libs.common.db.faults import transient_fault


def wrapped(cause: Exception) -> DBAPIError:
    original = Exception("as the dialect raises it")
    original.__cause__ = cause
    return DBAPIError("SELECT 1", {}, original)


class TestTransientFault:
    @pytest.mark.parametrize(
        ("error", "fault"),
        [
            (wrapped(asyncpg.DeadlockDetectedError("deadlock")), "deadlock"),
            (asyncpg.SerializationError("serialize"), "serialization"),
            (PoolTimeoutError("pool"), "pool-timeout"),
            (ConnectionRefusedError("refused"), "connection"),
            (TimeoutError("slow"), "timeout"),
            (asyncpg.LockNotAvailableError("lock_timeout"), "lock-timeout"),
            # A server that is being restored, or a replica that is not promoted yet.
            (asyncpg.ReadOnlySQLTransactionError("restoring"), "read-only"),
            (wrapped(asyncpg.InvalidCachedStatementError("a column has another type now")), "stale-plan"),
            (LookupError("a bug"), None),
        ],
    )
    def test_says_what_it_is(self, error: Exception, fault: str | None) -> None:
        assert transient_fault(error) == fault

    def test_is_counted_by_place_and_fault(self) -> None:
        labels = {"place": "a-test", "fault": "deadlock"}
        before = REGISTRY.get_sample_value("transient_faults_total", labels) or 0

        count_transient(asyncpg.DeadlockDetectedError("deadlock"), place="a-test")

        assert REGISTRY.get_sample_value("transient_faults_total", labels) == before + 1


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
