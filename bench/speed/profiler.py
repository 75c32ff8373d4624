"""Where the service processes spend their time while a figure is measured: py-spy's samples of each."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from deploy.local.refusal import Refusal

_PROGRAM = Path(sys.executable).with_name("py-spy")
_SAMPLES_PER_SECOND = 200
_STOP_SECONDS_MAX = 30
_HOTTEST = 12


class Hot(NamedTuple):
    """A function and its share of a process's samples: itself on top of the stack, and anywhere in it."""

    function: str
    own: float
    total: float


class Profiler:
    """
    Attaches to processes while they are measured, and leaves a flame graph and the folded stacks of each.

    Only what holds the interpreter's lock is sampled: that is what the processor time of a service is made of. Of
    several repetitions the last remains.
    """

    def __init__(self, folder: Path) -> None:
        """Write into a folder for each figure under `folder`."""
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def check(self) -> None:
        """
        Check that there is what samples are taken with.

        :raises Refusal: if there is not.
        """
        if not _PROGRAM.exists():
            raise Refusal("py-spy is not installed: run this through `make profile`")

    def start(self, figure: str, processes: Mapping[str, int]) -> None:
        """Start to sample."""
        self.stop()
        folder = self.folder / figure
        folder.mkdir(parents=True, exist_ok=True)
        for name, pid in processes.items():
            for form, suffix in (("flamegraph", "svg"), ("raw", "folded")):
                self._running.append(_record(pid, form, folder / f"{name}.{suffix}"))

    def stop(self) -> None:
        """Stop and wait until everything is written."""
        for recording in self._running:
            recording.send_signal(signal.SIGINT)
        for recording in self._running:
            recording.wait(_STOP_SECONDS_MAX)
        self._running.clear()


def _record(pid: int, form: str, file: Path) -> subprocess.Popen[bytes]:
    command = (
        str(_PROGRAM),
        *("record", "--gil", "--function", "--pid", str(pid), "--format", form, "--output", str(file)),
        *("--rate", str(_SAMPLES_PER_SECOND), "--duration", "unlimited"),
    )
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)  # noqa: S603 - a fixed list


def hottest(folded: str, *, count: int = _HOTTEST) -> list[Hot]:
    """Return the functions that most samples end in, from lines of `outermost;…;innermost samples`."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, samples = line.rpartition(" ")
        functions = stack.split(";")
        own[functions[-1]] += int(samples)
        total.update(dict.fromkeys(functions, int(samples)))
    samples_all = own.total()
    return [Hot(name, samples / samples_all, total[name] / samples_all) for name, samples in own.most_common(count)]


def hot_list(folder: Path) -> list[str]:
    """Return lines about every process of every figure in a folder of profiles, those without samples left out."""
    lines: list[str] = []
    for file in sorted(folder.glob("*/*.folded")):
        hot = hottest(file.read_text("utf-8", errors="replace"))
        if hot:
            lines.extend(("", f"{file.parent.name}, {file.stem}   (flame graph: {file.with_suffix('.svg')})"))
            lines.extend(f"  {one.own:6.1%} own {one.total:6.1%} total  {one.function}" for one in hot)
    return lines
