"""Processor time by process, as Linux accounts for it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/PID/stat behind the name of the program (proc_pid_stat(5)).
_PARENT, _USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM = 1, 11, 12, 13, 14


class CpuMeter:
    """
    Tells what processes have used since it was started.

    A process counts with its children, those that have ended included: PostgreSQL is one figure. Where there is no
    /proc nothing is told.
    """

    def __init__(
        self,
        processes: Callable[[], Mapping[str, int]],
        *,
        on_start: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """Ask `processes` for ids by name whenever something is read; what is measured is framed by two calls."""
        self._processes = processes
        self._on_start = on_start
        self._on_end = on_end
        self._start: Mapping[str, float] = {}

    def start(self) -> None:
        """Measure from now on."""
        if self._on_start is not None:
            self._on_start()
        self._start = self._read()

    def used_seconds(self) -> dict[str, float]:
        """Return the seconds that each process has used since the start, which ends the measuring."""
        used = {name: seconds - self._start.get(name, 0.0) for name, seconds in self._read().items()}
        if self._on_end is not None:
            self._on_end()
        return used

    def _read(self) -> dict[str, float]:
        return cpu_seconds(self._processes())


def cpu_seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """Return the seconds that each process, with its children, has used so far."""
    if not _PROC.exists():
        return {}
    table = {pid: fields for pid in _pids() if (fields := _stat(pid))}
    children: dict[int, list[int]] = {}
    for pid, fields in table.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    ticks_per_second = os.sysconf("SC_CLK_TCK")

    def ticks(pid: int) -> int:
        fields = table[pid]
        own = sum(int(fields[place]) for place in (_USER, _SYSTEM, _WAITED_USER, _WAITED_SYSTEM))
        return own + sum(ticks(child) for child in children.get(pid, ()))

    return {name: ticks(pid) / ticks_per_second for name, pid in processes.items() if pid in table}


def resident_mebibytes(pid: int) -> float | None:
    """Return the memory that a process has in use, None where that cannot be told."""
    try:
        status = (_PROC / str(pid) / "status").read_text("ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text("ascii", errors="replace")
    except OSError:
        # It has ended meanwhile.
        return None
    return text.rpartition(")")[2].split()
