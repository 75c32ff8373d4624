"""Every row that is injected into real processes; importing this declares them all."""

from tests.faults.matrix import ROWS
from tests.faults.rows import broker, database, disks, edge, erasure, messages, processes

__all__ = ["ROWS", "broker", "database", "disks", "edge", "erasure", "messages", "processes"]
