"""What of an order's price is kept for goods that are sent for others that came back."""

from collections.abc import Mapping
from uuid import UUID

from services.orders.domain.order import EXCHANGE_CHANNEL
from services.orders.domain.state import OrderState
from services.orders.handlers.ports import Unit


async def kept_for_exchanges(state: OrderState, unit: Unit) -> Mapping[UUID, int]:
    """Return what is kept for each exchange of a locked order's goods, without what was paid back as that ended."""
    exchanges = await unit.returns.exchanges_of(state.id)
    return {
        exchange_id: max(0, minor - state.paid_back_of_exchange_minor(exchange_id))
        for exchange_id, minor in exchanges.items()
    }


async def returned_of_exchange(state: OrderState, unit: Unit) -> int:
    """Return what the origin of a locked exchange gave back, or will, for goods of it that came back; else 0."""
    origin = state.facts.origin
    if origin is None or state.facts.channel != EXCHANGE_CHANNEL:
        return 0
    exchanges = await unit.returns.exchanges_of(origin.order_id)
    return origin.prepaid_minor - exchanges.get(state.id, origin.prepaid_minor)
