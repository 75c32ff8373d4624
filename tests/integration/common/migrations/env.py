from libs.common.db import new_metadata
from libs.common.db.migrations import run_environment

run_environment(new_metadata())
