"""The events of products, counted once they are committed."""

from libs.common.db import Transaction
from libs.common.events.base import Event
from libs.common.outbox import OutboxWriter
from services.catalog.metrics import catalog_product_changes_total


class CountedProductEvents:
    """Publishes through the outbox of a transaction, and counts each event by its kind once that has committed."""

    def __init__(self, outbox: OutboxWriter, transaction: Transaction) -> None:
        """Take the outbox of `transaction`."""
        self._outbox = outbox
        self._transaction = transaction

    def publish(self, event: Event, *, version: int) -> None:
        """Publish `event` with the transaction (see `ProductEvents.publish`)."""
        self._outbox.add(event, aggregate_version=version)
        change = event.type.removeprefix("product.")
        self._transaction.after_commit(catalog_product_changes_total.labels(change).inc)
