"""Runs the recommender's migrations on the connection that the `migrate` role opened."""

from libs.common.db.migrations import run_environment
from services.recommender.storage.tables import metadata

run_environment(metadata)
