"""Whether a process can serve: asked by whoever routes traffic to it, and by the process itself when it stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from libs.common.clock import Clock, SystemClock
from libs.common.telemetry.logs import get_logger

Check = Callable[[], Awaitable[object]]

_CHECK_TIMEOUT_SECONDS: Final = 2.0
# Probes of several balancers in the same second share one round of checks.
_REPORT_AGE_SECONDS_MAX: Final = 0.5

_log = get_logger(__name__)


class Health:
    """The checks that must pass for this process to be ready, and whether it is stopping."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        """Start without checks, not stopping."""
        self._checks: dict[str, Check] = {}
        self._stopping = asyncio.Event()
        self._clock = clock or SystemClock()
        self._failures: dict[str, str] = {}
        self._reported_at_seconds: float | None = None

    def add(self, name: str, check: Check) -> None:
        """Require `check`: it fails by raising, by returning False or by taking longer than two seconds."""
        if name in self._checks:
            message = f"there is a health check {name} already"
            raise ValueError(message)
        self._checks[name] = check

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the checks."""
        return tuple(self._checks)

    @property
    def stopping(self) -> bool:
        """Whether the process takes no more work: readiness fails and event streams end."""
        return self._stopping.is_set()

    @stopping.setter
    def stopping(self, value: bool) -> None:
        if value:
            self._stopping.set()
        else:
            self._stopping.clear()

    async def until_stopping(self) -> None:
        """Return when the process begins to stop."""
        await self._stopping.wait()

    async def failures(self) -> dict[str, str]:
        """Run all checks at once; return the reason of each that fails."""
        now = self._clock.monotonic_seconds()
        reported_at = self._reported_at_seconds
        if reported_at is None or now - reported_at > _REPORT_AGE_SECONDS_MAX:
            reasons = await asyncio.gather(*(_outcome(name, check) for name, check in self._checks.items()))
            self._failures = {
                name: reason for name, reason in zip(self._checks, reasons, strict=True) if reason is not None
            }
            self._reported_at_seconds = now
        return dict(self._failures)


async def _outcome(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
            passed = await check()
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_SECONDS:.0f} seconds"
    except Exception as error:  # noqa: BLE001 - whatever a check raises means "not ready", never "crash"
        # The text of the error may name hosts and users; the caller of /readyz is anonymous.
        _log.warning("health.check_failed", check=name, error=repr(error))
        return type(error).__name__
    return "failed" if passed is False else None
