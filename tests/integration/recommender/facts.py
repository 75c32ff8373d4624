"""Events as their owners would publish them, with boring defaults."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from libs.common.events.catalog import ProductDelisted, ProductListed
from libs.common.events.inventory import StockLevelChanged, WarehouseLevel
from libs.common.events.orders import OrderConfirmed
from libs.common.events.shapes import Allocation, Destination
from libs.common.events.storefront import ProductViewed
from libs.common.ids import new_id

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)


def view(
    sku: str,
    *,
    minute: float = 0,
    visitor: str = "visitor-1",
    session: str | None = "session-1",
    customer: str | None = None,
    is_derived: bool = False,
) -> ProductViewed:
    return ProductViewed(
        visitor_id=visitor,
        customer_id=customer,
        session_id=session,
        occurred_at=NOON + timedelta(minutes=minute),
        sku=sku,
        is_derived=is_derived,
    )


def order(*skus: str, customer: str = "customer-7", order_id: UUID | None = None) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=order_id or new_id(),
        customer_id=customer,
        placed_at=NOON,
        confirmed_at=NOON,
        currency="GBP",
        total_minor=1000,
        # The same product from two warehouses is still one product of the basket.
        allocations=[
            Allocation(warehouse=warehouse, sku=sku, quantity=1) for sku in skus for warehouse in ("LEEDS", "LYON")
        ],
        destination=Destination(country="GB"),
    )


def stock(sku: str, *, on_hand: int, reserved: int = 0) -> StockLevelChanged:
    return StockLevelChanged(
        sku=sku,
        levels=[
            WarehouseLevel(warehouse="LEEDS", on_hand=on_hand, reserved=reserved),
            WarehouseLevel(warehouse="LYON", on_hand=0, reserved=0),
        ],
    )


def listed(sku: str) -> ProductListed:
    return ProductListed(sku=sku, title=sku, category=None, price_minor=100, currency="GBP", is_listed=True)


def delisted(sku: str) -> ProductDelisted:
    return ProductDelisted(sku=sku, title=sku, category=None, price_minor=100, currency="GBP", is_listed=False)
