"""What every role works with: the adapters behind the ports of the handlers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.outbox.writer import OutboxWriter
from services.inventory.domain.allocation import DEFAULT_POLICY
from services.inventory.domain.counts import CountLimits
from services.inventory.domain.strategies import AllocationPolicy
from services.inventory.handlers.assortment import NO_ASSORTMENT, Assortment
from services.inventory.handlers.ports import Tools
from services.inventory.storage.count_lists import PostgresCountLists
from services.inventory.storage.counts import PostgresCounts
from services.inventory.storage.hold_owners import PostgresHoldOwners
from services.inventory.storage.ledger_feed import SettledLedger
from services.inventory.storage.lots import PostgresLots
from services.inventory.storage.reservations import PostgresReservations
from services.inventory.storage.sequences import PostgresSequences
from services.inventory.storage.stock import PostgresStock
from services.inventory.storage.transfers import PostgresTransfers
from services.inventory.storage.warehouses import PostgresWarehouses

NAME: Final = "inventory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What the use cases work with, for as long as the process runs."""

    database: Database
    clock: Clock
    wake_relay: Callable[[], None] | None = None
    allocation: AllocationPolicy = DEFAULT_POLICY
    count_limits: CountLimits = field(default_factory=CountLimits)
    numbered_ledger: SettledLedger = field(default_factory=SettledLedger)
    assortment: Assortment = NO_ASSORTMENT
    refuses_unknown_skus: bool = False

    def sequences_of(self, transaction: Transaction) -> PostgresSequences:
        """Return the numbers of warehouses' reports, in one transaction."""
        return PostgresSequences(transaction, self.numbered_ledger)

    def tools_of(self, transaction: Transaction) -> Tools:
        """Return the tools of one transaction."""
        return Tools(
            stock=PostgresStock(transaction),
            reservations=PostgresReservations(transaction),
            hold_owners=PostgresHoldOwners(transaction),
            warehouses=PostgresWarehouses(transaction),
            transfers=PostgresTransfers(transaction),
            outbox=OutboxWriter(transaction, source=NAME, clock=self.clock, wake_relay=self.wake_relay),
            decisions=PostgresDecisionLog(transaction),
            counts=PostgresCounts(transaction),
            lots=PostgresLots(transaction),
            count_lists=PostgresCountLists(transaction),
            clock=self.clock,
            allocation=self.allocation,
            assortment=self.assortment,
            refuses_unknown_skus=self.refuses_unknown_skus,
            count_limits=self.count_limits,
        )
