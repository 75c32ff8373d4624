"""Who publishes and who consumes what, as the summary needs to know it."""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.events.base import Topic
from libs.common.events.topics import (
    CATALOG_PRODUCT,
    INVENTORY_FACILITY,
    INVENTORY_RESERVATION,
    INVENTORY_STOCK,
    INVENTORY_WAREHOUSE,
    LOGISTICS_SHIPMENT,
    ORDERS_CUSTOMER,
    ORDERS_ERASURE,
    ORDERS_ORDER,
    ORDERS_PAYMENT,
    ORDERS_RETURN,
    STOREFRONT_BEHAVIOUR,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group: what it reads, and the types of which every event must be in its inbox."""

    service: str
    topics: tuple[Topic, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What one topic tells of: `versions` asks a service's database for each aggregate's version."""

    service: str
    topic: Topic
    versions: str


GROUPS: Mapping[str, Group] = {
    "inventory.reservations": Group(
        service="inventory",
        topics=(ORDERS_ORDER, LOGISTICS_SHIPMENT, ORDERS_RETURN, ORDERS_CUSTOMER),
        # It writes no inbox: what it did is asked of reservations and the ledger.
        types=(),
    ),
    "inventory.intake": Group(
        service="inventory",
        topics=(INVENTORY_WAREHOUSE,),
        # Nor does this one: the ledger knows the events that it was made of.
        types=(),
    ),
    "orders.saga": Group(
        service="orders",
        topics=(INVENTORY_RESERVATION, LOGISTICS_SHIPMENT, ORDERS_ERASURE),
        types=(
            "stock.reserved",
            "stock.backordered",
            "stock.partly-reserved",
            "stock.rejected",
            "shipment.planned",
            "shipment.dispatched",
            "shipment.delivered",
            "shipment.failed",
            "shipment.cancelled",
            "customer.erased",
        ),
    ),
    "recommender.behaviour": Group(
        service="recommender",
        topics=(STOREFRONT_BEHAVIOUR, ORDERS_ORDER, ORDERS_CUSTOMER),
        types=("product.viewed", "order.confirmed", "customer.erasure-requested"),
    ),
    "logistics.planning": Group(
        service="logistics",
        topics=(ORDERS_ORDER, INVENTORY_FACILITY, ORDERS_CUSTOMER),
        types=(
            "order.confirmed",
            "order.cancellation-requested",
            "warehouse.registered",
            "warehouse.changed",
            "customer.erasure-requested",
        ),
    ),
}

AGGREGATES = (
    Aggregate(
        service="catalog",
        topic=CATALOG_PRODUCT,
        versions="SELECT sku AS subject, version FROM products",
    ),
    Aggregate(
        service="inventory",
        topic=INVENTORY_FACILITY,
        versions="SELECT code AS subject, version FROM warehouses",
    ),
    Aggregate(
        service="inventory",
        topic=INVENTORY_STOCK,
        versions="SELECT sku AS subject, version FROM stock_items",
    ),
    Aggregate(
        service="inventory",
        topic=INVENTORY_RESERVATION,
        versions="SELECT order_id::text AS subject, version FROM reservations",
    ),
    Aggregate(
        service="orders",
        topic=ORDERS_ORDER,
        versions="SELECT id::text AS subject, version FROM orders",
    ),
    Aggregate(
        service="orders",
        topic=ORDERS_PAYMENT,
        versions="SELECT order_id::text AS subject, version FROM payments",
    ),
    Aggregate(
        service="orders",
        topic=ORDERS_RETURN,
        versions="SELECT id::text AS subject, version FROM returns",
    ),
    Aggregate(
        service="logistics",
        topic=LOGISTICS_SHIPMENT,
        versions="SELECT id::text AS subject, version FROM shipments",
    ),
)

# The services that publish through an outbox; the recommender's intake writes to the bus itself.
PUBLISHERS = ("catalog", "inventory", "orders", "logistics")
