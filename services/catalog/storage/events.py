"""The outbox of the catalog, which counts what was committed."""

from uuid import UUID

from libs.common.db import Transaction
from libs.common.events.base import Envelope, Event
from libs.common.events.outbox import Outbox
from services.catalog.metrics import catalog_product_changes_total


class CountedOutbox:
    """Passes events on, and counts each by its kind once its transaction has committed."""

    def __init__(self, outbox: Outbox, transaction: Transaction) -> None:
        """Wrap the outbox of `transaction`."""
        self._outbox = outbox
        self._transaction = transaction

    def add(
        self,
        event: Event,
        *,
        aggregate_version: int | None = None,
        cause: Envelope | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> UUID:
        """Publish `event` with the transaction (see `Outbox.add`)."""
        event_id = self._outbox.add(
            event,
            aggregate_version=aggregate_version,
            cause=cause,
            correlation_id=correlation_id,
            traceparent=traceparent,
        )
        change = event.type.removeprefix("product.")
        self._transaction.after_commit(catalog_product_changes_total.labels(change).inc)
        return event_id
