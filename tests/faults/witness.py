"""Adds up what processes count, across their deaths: whether a run has been where it is dark."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from deploy.local.stack import LocalStack

_SAMPLE = re.compile(r"^(?P<name>[a-z_:]+)(?P<labels>\{[^}]*\})? (?P<value>[0-9.e+-]+)$", re.MULTILINE)
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Path:
    """A rare path: the counter that shows it, and the labels it must carry."""

    name: str
    counter: str
    labels: str = ""


# Each must be taken at least once, or a run has proved nothing about it.
SOMETIMES = (
    Path("duplicates dropped", "consumer_duplicates_dropped_total"),
    Path("offset commit failed", "consumer_commit_failures_total"),
    Path("rebalance", "consumer_rebalances_total"),
    Path("records read alone after a death", "consumer_suspicions_total"),
    Path("relay take-over", "relay_takeovers_total"),
    Path("batch tried again after a passing fault", "consumer_retries_total", 'reason="transient"'),
    Path("deadlock", "transient_faults_total", 'fault="deadlock"'),
    Path("lock that took too long", "transient_faults_total", 'fault="lock-timeout"'),
    Path("no connection was free", "transient_faults_total", 'fault="pool-timeout"'),
    Path("unknown outcome of a payment resolved", "orders_payment_unknown_resolved_total"),
    Path("dead letter", "dead_letters_total"),
    Path("compensation", "orders_saga_messages_total", 'answer="compensate"'),
    Path("load shed", "http_requests_shed_total"),
)


class Witness:
    """Looks at every process again and again, so that little is lost when one dies."""

    def __init__(self, stack: LocalStack) -> None:
        """Look at nothing yet."""
        self._stack = stack
        self._seen: dict[tuple[str, int | None], dict[tuple[str, str], float]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            while True:
                await asyncio.gather(*(self._look(client, name) for name in self._stack.addresses.process_urls))
                await asyncio.sleep(_LOOK_SECONDS)

    async def look(self, name: str) -> None:
        """Look at one process now, before something happens to it."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            await self._look(client, name)

    async def gauge(self, name: str, gauge: str) -> float:
        """Return the largest value that a process shows of a gauge now, or as soon as it answers."""
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
            text = (await client.get(f"{self._stack.addresses.process_urls[name]}/metrics")).text
        values = [float(sample["value"]) for sample in _SAMPLE.finditer(text) if sample["name"] == gauge]
        return max(values, default=0.0)

    def total(self, counter: str, labels: str = "", *, process: str = "") -> float:
        """Return what a counter has come to, over all processes that there ever were, or those of one name."""
        return sum(
            value
            for (name, _), samples in self._seen.items()
            for (sample, sample_labels), value in samples.items()
            if sample == counter and labels in sample_labels and process in {"", name}
        )

    def sometimes(self) -> Mapping[str, int]:
        """Return how often each rare path was taken."""
        return Counter({path.name: round(self.total(path.counter, path.labels)) for path in SOMETIMES})

    async def _look(self, client: httpx.AsyncClient, name: str) -> None:
        pid = self._stack.supervisor.pid(name) if name in self._stack.names else None
        try:
            text = (await client.get(f"{self._stack.addresses.process_urls[name]}/metrics")).text
        except (httpx.HTTPError, KeyError):
            return
        # Two that bear one name count for themselves: a successor begins at 0.
        self._seen.setdefault((name, pid), {}).update(
            {
                (sample["name"], sample["labels"] or ""): float(sample["value"])
                for sample in _SAMPLE.finditer(text)
                if sample["name"].endswith("_total")
            }
        )
