"""Events leave a service in the same transaction as the change that they report."""

from libs.common.outbox.relay import Relay
from libs.common.outbox.service_relay import relay_of
from libs.common.outbox.writer import OutboxWriter

__all__ = ["OutboxWriter", "Relay", "relay_of"]
