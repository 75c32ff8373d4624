from libs.common.db.migrations import run_environment
from services.inventory.storage.tables import metadata

run_environment(metadata)
