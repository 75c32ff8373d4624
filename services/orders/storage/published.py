"""The outbox of this service: what it writes holds no personal data."""

from collections.abc import Callable
from uuid import UUID

from libs.common.clock import Clock
from libs.common.db import Transaction
from libs.common.events.base import Envelope, Event
from libs.common.outbox import OutboxWriter
from libs.common.privacy import Pseudonyms
from services.orders.domain.erasure import published


class PublicOutbox(OutboxWriter):
    """An outbox that tells pseudonyms instead of customers, and no sentences."""

    def __init__(
        self,
        transaction: Transaction,
        *,
        source: str,
        clock: Clock,
        pseudonyms: Pseudonyms,
        wake_relay: Callable[[], None] | None = None,
    ) -> None:
        """Work as `OutboxWriter` does."""
        super().__init__(transaction, source=source, clock=clock, wake_relay=wake_relay)
        self._pseudonyms = pseudonyms

    def add(
        self,
        event: Event,
        *,
        aggregate_version: int | None = None,
        cause: Envelope | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> UUID:
        """Publish what may be told of `event` (see `Outbox.add`)."""
        return super().add(
            published(event, self._pseudonyms),
            aggregate_version=aggregate_version,
            cause=cause,
            correlation_id=correlation_id,
            traceparent=traceparent,
        )
