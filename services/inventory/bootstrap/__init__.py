"""The composition root of inventory: `build` puts a process together, of a module for each of its roles."""

from pathlib import Path

from libs.common.events.topics import (
    INVENTORY_FACILITY,
    INVENTORY_RESERVATION,
    INVENTORY_STOCK,
    INVENTORY_TRANSFER,
    INVENTORY_WAREHOUSE,
)
from libs.common.runtime import Service
from services.inventory.bootstrap.adapters import NAME
from services.inventory.bootstrap.build import build
from services.inventory.consumers import INTAKE_GROUP, RESERVATIONS_GROUP
from services.inventory.settings import InventorySettings

SERVICE = Service(
    name=NAME,
    settings=InventorySettings,
    roles=("api", "consumer", "relay", "jobs", "auditor"),
    build=build,
    migrations=Path(__file__).parent.parent / "storage" / "migrations",
    topics=(INVENTORY_WAREHOUSE, INVENTORY_FACILITY, INVENTORY_RESERVATION, INVENTORY_STOCK, INVENTORY_TRANSFER),
    groups=(RESERVATIONS_GROUP, INTAKE_GROUP),
)
