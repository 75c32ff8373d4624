"""PostgreSQL: one engine per process, one transaction per unit of work."""

from libs.common.db.database import Database, Transaction
from libs.common.db.faults import count_transient, is_transient
from libs.common.db.metadata import new_metadata, one_of

__all__ = ["Database", "Transaction", "count_transient", "is_transient", "new_metadata", "one_of"]
