"""Runs the migrations of orders on the connection that it is handed."""

from libs.common.db.migrations import run_environment
from services.orders.storage.tables import metadata

run_environment(metadata)
