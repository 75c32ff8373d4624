"""One transaction with everything that a use case reaches through it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.outbox import OutboxWriter
from libs.common.privacy import Pseudonyms
from services.orders.domain.erasure import published
from services.orders.handlers.ports import Unit
from services.orders.storage.actions import PostgresOrderActions
from services.orders.storage.edits import PostgresEdits
from services.orders.storage.imports import PostgresImportedOrders
from services.orders.storage.ledger import PostgresLedger
from services.orders.storage.notices import PostgresPaymentNotices
from services.orders.storage.orders import PostgresOrders
from services.orders.storage.payments import PostgresPaymentCommands
from services.orders.storage.prices import PostgresPrices
from services.orders.storage.promotions import PostgresPromotions
from services.orders.storage.returns import PostgresReturns
from services.orders.storage.review_blocks import PostgresBlocks
from services.orders.storage.reviews import PostgresReviews
from services.orders.storage.timers import PostgresTimers
from services.orders.storage.views import PostgresOrderViews

Result = TypeVar("Result")

_SOURCE = "orders"


class PostgresUnit:
    """The adapters of one transaction."""

    def __init__(
        self,
        transaction: Transaction,
        *,
        clock: Clock,
        pseudonyms: Pseudonyms,
        wake_relay: Callable[[], None] | None = None,
    ) -> None:
        """Work in `transaction`, which somebody else commits."""
        self.orders = PostgresOrders(transaction)
        self.timers = PostgresTimers(transaction)
        self.returns = PostgresReturns(transaction)
        self.payments = PostgresPaymentCommands(transaction)
        self.actions = PostgresOrderActions(transaction)
        self.imports = PostgresImportedOrders(transaction)
        self.promotions = PostgresPromotions(transaction)
        self.prices = PostgresPrices(transaction)
        self.reviews = PostgresReviews(transaction)
        self.edits = PostgresEdits(transaction)
        self.blocks = PostgresBlocks(transaction)
        self.ledger = PostgresLedger(transaction)
        self.notices = PostgresPaymentNotices(transaction)
        self.views = PostgresOrderViews(transaction)
        self.outbox = OutboxWriter(
            transaction,
            source=_SOURCE,
            clock=clock,
            redact=lambda event: published(event, pseudonyms),
            wake_relay=wake_relay,
        )
        self.decisions = PostgresDecisionLog(transaction)
        self._transaction = transaction

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the transaction has committed."""
        self._transaction.after_commit(callback)


class PostgresUnits:
    """Makes units of transactions, its own or another's."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        pseudonyms: Pseudonyms | None = None,
        wake_relay: Callable[[], None] | None = None,
    ) -> None:
        """`wake_relay` is called after each commit with events, if the relay is in the same process."""
        self._database = database
        self._pseudonyms = pseudonyms or Pseudonyms.local()
        self._clock = clock
        self._wake_relay = wake_relay

    def bind(self, transaction: Transaction) -> Unit:
        """Return the unit of a transaction that the caller commits."""
        return PostgresUnit(transaction, clock=self._clock, pseudonyms=self._pseudonyms, wake_relay=self._wake_relay)

    async def run(self, work: Callable[[Unit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        return await self._database.run(lambda transaction: work(self.bind(transaction)))
