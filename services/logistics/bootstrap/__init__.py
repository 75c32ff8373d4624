"""The composition root of logistics."""

from pathlib import Path
from typing import Final

from libs.common.events.topics import LOGISTICS_SHIPMENT
from libs.common.runtime import Service
from services.logistics.bootstrap.build import build
from services.logistics.consumers import PLANNING
from services.logistics.settings import LogisticsSettings

SERVICE: Final = Service(
    name="logistics",
    settings=LogisticsSettings,
    roles=("api", "consumer", "relay", "jobs", "simulator"),
    build=build,
    migrations=Path(__file__).parent.parent / "storage" / "migrations",
    topics=(LOGISTICS_SHIPMENT,),
    groups=(PLANNING,),
)
