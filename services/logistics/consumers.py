"""Which events logistics turns into which effects."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from libs.common.clock import Clock
from libs.common.db import Transaction
from libs.common.events.base import Envelope
from libs.common.events.inventory import WarehouseChanged, WarehouseRegistered
from libs.common.events.orders import (
    OrderCancellationRequested,
    OrderConfirmed,
    OrderRecallRequested,
    OrderReconfirmed,
)
from libs.common.events.topics import INVENTORY_FACILITY, ORDERS_ORDER
from libs.common.messaging.consumer import Subscription
from services.logistics.domain.choice import Policy
from services.logistics.handlers.facts import count_planning
from services.logistics.handlers.planning import plan_and_cancel
from services.logistics.handlers.ports import Desk
from services.logistics.handlers.warehouses import note_warehouses

PLANNING: Final = "logistics.planning"
# A parcel is planned within moments of its order's confirmation, for people who pack it within hours.
_BATCH_INTERVAL_SECONDS: Final = 0.4
_BATCH_RECORDS_PLENTY: Final = 400

_ABOUT_ORDERS: Final = (OrderConfirmed, OrderReconfirmed, OrderCancellationRequested, OrderRecallRequested)


class PlanningHandler:
    """Applies a batch of the planning group: warehouses first, then orders in their order."""

    def __init__(self, *, policy: Policy, clock: Clock, open_desk: Callable[[Transaction], Desk]) -> None:
        """Plan under `policy`; `open_desk` binds what is needed to the transaction of a batch."""
        self._policy = policy
        self._clock = clock
        self._open_desk = open_desk

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        """Apply the whole batch or raise."""
        desk = self._open_desk(transaction)
        await note_warehouses(batch, warehouses=desk.warehouses)
        orders = [envelope for envelope in batch if isinstance(envelope.event, _ABOUT_ORDERS)]
        if not orders:
            return
        facts = await plan_and_cancel(orders, desk=desk, policy=self._policy, now=self._clock.now())
        transaction.after_commit(partial(count_planning, facts))


def planning(handler: PlanningHandler) -> Subscription:
    """Return what the planning group listens to."""
    return Subscription(
        group=PLANNING,
        topics=(ORDERS_ORDER, INVENTORY_FACILITY),
        events=(
            *_ABOUT_ORDERS,
            WarehouseRegistered,
            WarehouseChanged,
        ),
        handle=handler,
        batch_records_plenty=_BATCH_RECORDS_PLENTY,
        batch_interval_seconds=_BATCH_INTERVAL_SECONDS,
    )
