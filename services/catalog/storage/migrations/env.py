from libs.common.db.migrations import run_environment
from services.catalog.storage.tables import metadata

run_environment(metadata)
