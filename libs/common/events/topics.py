"""Every topic on the bus, by owner."""

from libs.common.events.base import Topic

CATALOG_PRODUCT = Topic(
    name="catalog.product.v1",
    owner="catalog",
    key="sku",
    subject="sku",
    summary="Products as they are listed, changed, repriced and delisted; the latest per SKU is its whole state.",
    is_compacted=True,
)
STOREFRONT_BEHAVIOUR = Topic(
    name="storefront.behaviour.v1",
    owner="recommender",
    key="visitor_id",
    subject="visitor_id",
    summary="What visitors see, click, search and put into their baskets.",
)
ORDERS_ORDER = Topic(
    name="orders.order.v1",
    owner="orders",
    key="order_id",
    subject="order_id",
    summary="An order's way from received to settled.",
)
ORDERS_PAYMENT = Topic(
    name="orders.payment.v1",
    owner="orders",
    key="order_id",
    subject="order_id",
    summary="What the payment provider did for an order.",
)
ORDERS_RETURN = Topic(
    name="orders.return.v1",
    owner="orders",
    key="return_id",
    subject="return_id",
    summary="Goods that customers send back.",
)
ORDERS_CUSTOMER = Topic(
    name="orders.customer.v1",
    owner="orders",
    key="part_id",
    subject="erasure_id",
    summary="Customers who are to be erased, kept for good: the register that restores are held against.",
    partitions=1,
    is_compacted=True,
)
ORDERS_ERASURE = Topic(
    name="orders.erasure.v1",
    owner="orders",
    key="erasure_id",
    subject="erasure_id",
    summary="What services answer to erasures; each of them produces to it.",
    partitions=1,
)
INVENTORY_WAREHOUSE = Topic(
    name="inventory.warehouse.v1",
    owner="inventory",
    key="sku",
    subject="sku",
    summary="What warehouses report about their stock; they may produce to it themselves.",
)
INVENTORY_FACILITY = Topic(
    name="inventory.facility.v1",
    owner="inventory",
    key="warehouse",
    subject="warehouse",
    summary="The warehouses themselves and where they stand; the latest per warehouse is its whole state.",
    partitions=1,
    is_compacted=True,
)
INVENTORY_RESERVATION = Topic(
    name="inventory.reservation.v1",
    owner="inventory",
    key="order_id",
    subject="order_id",
    summary="Stock held for orders: reserved, backordered, rejected, released, committed.",
)
INVENTORY_STOCK = Topic(
    name="inventory.stock.v1",
    owner="inventory",
    key="sku",
    subject="sku",
    summary="The level of a SKU in every warehouse; the latest per SKU is its whole state.",
    is_compacted=True,
)
INVENTORY_TRANSFER = Topic(
    name="inventory.transfer.v1",
    owner="inventory",
    key="transfer_id",
    subject="transfer_id",
    summary="What is decided about moves between warehouses; what leaves and arrives is in the warehouses' reports.",
)
LOGISTICS_SHIPMENT = Topic(
    name="logistics.shipment.v1",
    owner="logistics",
    key="order_id",
    subject="shipment_id",
    summary="Parcels from planned to delivered.",
)

ALL_TOPICS = (
    CATALOG_PRODUCT,
    STOREFRONT_BEHAVIOUR,
    ORDERS_ORDER,
    ORDERS_PAYMENT,
    ORDERS_RETURN,
    ORDERS_CUSTOMER,
    ORDERS_ERASURE,
    INVENTORY_WAREHOUSE,
    INVENTORY_FACILITY,
    INVENTORY_RESERVATION,
    INVENTORY_STOCK,
    INVENTORY_TRANSFER,
    LOGISTICS_SHIPMENT,
)
