"""The composition root of orders: `build` puts a process together, of a module for each of its roles."""

from pathlib import Path

from libs.common.events.topics import ORDERS_CUSTOMER, ORDERS_ERASURE, ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN
from libs.common.runtime import Service
from services.orders.bootstrap.build import build
from services.orders.bootstrap.erasures import reapply_erasures
from services.orders.bootstrap.parts import NAME
from services.orders.consumers import INSIGHTS, NOTIFICATIONS, PRICES, SAGA
from services.orders.settings import OrdersSettings

SERVICE = Service(
    name=NAME,
    settings=OrdersSettings,
    roles=("api", "consumer", "relay", "jobs", "notifications", "insights"),
    build=build,
    migrations=Path(__file__).parent.parent / "storage" / "migrations",
    topics=(ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN, ORDERS_CUSTOMER, ORDERS_ERASURE),
    groups=(SAGA, NOTIFICATIONS, INSIGHTS, PRICES),
    tasks={"reapply-erasures": reapply_erasures},
)
