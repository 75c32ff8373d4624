"""Runs the migrations of logistics on the connection that it is handed."""

from libs.common.db.migrations import run_environment
from services.logistics.storage.tables import metadata

run_environment(metadata)
