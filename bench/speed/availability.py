"""How fast availability is read, beside a constant from the same server, and how soon it shows what was reported."""

from typing import Final

from bench.replay.progress import Steps
from bench.speed.backlog import publish_backlog
from bench.speed.cpu import CpuMeter
from bench.speed.http_load import ceiling, closed_loop, request_of
from bench.speed.isolation import Isolated
from bench.speed.repetition import checked, repeated
from bench.speed.results import Row, Sample, Target
from bench.speed.rig import Rig, Site
from bench.speed.scale import Scale
from bench.speed.servers.constant import PATH
from bench.speed.statistics import histogram, latency_of
from bench.speed.stock_world import announced_levels, skus, stock_up
from bench.speed.visibility import watch_events

_SKUS_PER_READ: Final = 5
_CONNECTIONS: Final = 32
_POSTING_CONNECTIONS: Final = 64
_EVENTS_PER_SECOND: Final = 1_000
_BOUNDS_MS: Final = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 500, 1_000)
_SERVER: Final = "bench.speed.servers.inventory"


async def reads(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Read some SKUs a call over keep-alive connections, as fast as the server answers."""
    async with rig.site("availability", "inventory") as site, Isolated() as isolated:
        await _stocked(site, scale)
        await site.start("inventory", "api", module=_SERVER)
        key = site.key("storefront")
        names = skus(scale.stock_skus)
        groups = [names[start : start + _SKUS_PER_READ] for start in range(0, len(names), _SKUS_PER_READ)]
        paths = ["/v1/availability?" + "&".join(f"sku={sku}" for sku in group) for group in groups]
        requests = [request_of("GET", path, key=key) for path in paths]
        constant = [request_of("GET", PATH, key=key)]

        async def measure(sent: list[bytes], meter: CpuMeter) -> Sample:
            meter.start()
            loaded = await isolated.run(
                closed_loop, site.urls["inventory"], sent, connections=_CONNECTIONS, operations=scale.reads
            )
            return checked(loaded, cpu_seconds=meter.used_seconds(), status=200)

        own_ceiling = await isolated.run(ceiling, connections=_CONNECTIONS, operations=scale.reads)
        with steps.step("Availability reads", total=2 * (scale.repetitions + 1)) as step:
            mine, its = await repeated(
                {
                    "inventory": lambda _: measure(requests, site.cpu_meter()),
                    "constant endpoint": lambda _: measure(constant, site.limit_meter()),
                },
                scale=scale,
                step=step,
            )
    return [
        Row(
            figure="availability",
            title="availability reads",
            unit="requests",
            ours=mine,
            limit=its,
            targets=[Target(kind="ratio", value=0.7)],
            conditions=f"{_SKUS_PER_READ} of {scale.stock_skus:,} SKUs a call, {_CONNECTIONS} connections, one API"
            f" process; the client with a server of its own in one process reaches {own_ceiling:,.0f}/s",
        )
    ]


async def visibility(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Post events at a fixed rate and read availability until each of them shows."""
    async with rig.site("visibility", "inventory") as site, Isolated() as isolated:
        await _stocked(site, scale)
        await site.start("inventory", *site.roles("inventory"))
        latencies: list[float] = []

        async def ours(repetition: int) -> Sample:
            meter = site.cpu_meter()
            meter.start()
            watched = await isolated.run(
                watch_events,
                site.urls["inventory"],
                key=site.key("warehouse"),
                rate=_EVENTS_PER_SECOND,
                operations=round(_EVENTS_PER_SECOND * scale.open_load_seconds),
                sku_count=scale.stock_skus,
                connections=_POSTING_CONNECTIONS,
                seed=repetition,
            )
            posted = checked(watched.posted, cpu_seconds=meter.used_seconds(), status=201)
            if repetition:
                latencies.extend(watched.visible_after_seconds)
            return Sample(
                operations=posted.operations,
                seconds=posted.seconds,
                cpu_seconds=posted.cpu_seconds,
                latency=latency_of(watched.visible_after_seconds),
                extra={"answered_p99_ms": posted.latency.p99_ms} if posted.latency else {},
            )

        with steps.step("Events until they are visible", total=scale.repetitions + 1) as step:
            [mine] = await repeated({"inventory": ours}, scale=scale, step=step)
    return [
        Row(
            figure="visibility",
            title="event posted until visible in availability",
            unit="events",
            ours=mine,
            targets=[Target(kind="p99_ms", value=100)],
            histogram=histogram(latencies, bounds_ms=_BOUNDS_MS),
            conditions=f"{_EVENTS_PER_SECOND:,} events/s for {scale.open_load_seconds:g} s at fixed times, each posted"
            f" alone; every role of inventory runs; seen by reading availability every 5 ms",
        )
    ]


async def _stocked(site: Site, scale: Scale) -> None:
    """Put stock into the database and the levels of it on the bus, so that the API's copy is whole."""
    await stock_up(site.database_urls["inventory"], sku_count=scale.stock_skus)
    await publish_backlog(site, list(announced_levels(scale.stock_skus)))
