"""Erasures: their jobs, a part of the role `jobs`, and the task that repeats them after a restore."""

from libs.common.clock import Clock, SystemClock
from libs.common.db import is_transient
from libs.common.privacy import Pseudonyms
from libs.common.runtime import PeriodicJob, Process
from libs.common.telemetry.logs import get_logger
from services.orders.bootstrap.parts import NAME, data_keys, database_of
from services.orders.clients.erasure_register import read_register
from services.orders.handlers.erasures import Eraser, restore_register
from services.orders.settings import OrdersSettings
from services.orders.storage.erasures import PostgresErasureUnits

log = get_logger(__name__)

_ERASE_SECONDS = 1.0
_FIND_STRAYS_SECONDS = 60.0


def add_erasing(
    process: Process, *, settings: OrdersSettings, units: PostgresErasureUnits, pseudonyms: Pseudonyms, clock: Clock
) -> None:
    """Add what carries erasures out."""
    eraser = Eraser(units, pseudonyms=pseudonyms, clock=clock, delay=settings.erasure_delay, is_transient=is_transient)
    process.components.extend(
        [
            PeriodicJob("erase", eraser.work, every_seconds=_ERASE_SECONDS),
            PeriodicJob("erase-strays", eraser.find_strays, every_seconds=_FIND_STRAYS_SECONDS),
        ]
    )


async def reapply_erasures(settings: OrdersSettings) -> None:
    """Have everybody erased again whom the register on the bus or in the database names: after a restore."""
    clock = SystemClock()
    database = database_of(settings, f"{NAME}-reapply-erasures", 1)
    try:
        requests = await read_register(
            bootstrap_servers=settings.kafka_bootstrap_servers, topic_prefix=settings.kafka_topic_prefix
        )
        erasures = await restore_register(
            requests,
            units=PostgresErasureUnits(database, clock=clock),
            pseudonyms=data_keys(settings).pseudonyms,
            now=clock.now(),
        )
    finally:
        await database.dispose()
    log.info("erasures.reapplied", requests=len(requests), erasures=erasures)
