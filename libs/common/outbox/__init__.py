"""Events leave a service in the same transaction as the change that they report."""

from libs.common.outbox.relay import Relay
from libs.common.outbox.writer import Outbox, OutboxWriter

__all__ = ["Outbox", "OutboxWriter", "Relay"]
