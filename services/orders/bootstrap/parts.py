"""What every role is built from: connections, members of consumer groups, and the keys of personal data."""

from libs.common.clock import Clock
from libs.common.data_keys import DataKeys, DataKeysUnreadable
from libs.common.db import Database
from libs.common.messaging.consumer import Consumer, Subscription
from libs.common.settings import InvalidSettings
from services.orders.settings import OrdersSettings

NAME = "orders"


def database_of(settings: OrdersSettings, application_name: str, pool_size: int) -> Database:
    """Return a pool of up to `pool_size` connections, which the database knows by `application_name`."""
    return Database(settings.database_url.get_secret_value(), application_name=application_name, pool_size=pool_size)


def consumer_of(subscription: Subscription, settings: OrdersSettings, database: Database, *, clock: Clock) -> Consumer:
    """Return a member of the consumer group of a subscription."""
    return Consumer(
        subscription,
        service=NAME,
        database=database,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        clock=clock,
    )


def data_keys(settings: OrdersSettings) -> DataKeys:
    """
    Read the keys of personal data.

    :raises InvalidSettings: if they cannot be read.
    """
    try:
        return DataKeys.of(settings.data_keys_file)
    except DataKeysUnreadable as error:
        raise InvalidSettings(str(error)) from error
