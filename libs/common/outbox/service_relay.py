"""The relay of a service, as its settings say."""

from libs.common.clock import Clock
from libs.common.messaging.producer import BusProducer
from libs.common.outbox.relay import Relay
from libs.common.settings import ServiceSettings


def relay_of(service: str, settings: ServiceSettings, clock: Clock) -> Relay:
    """Build what publishes the outbox of `service`."""
    producer = BusProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        client_id=f"{service}-relay",
    )
    return Relay(service=service, database_url=settings.database_url.get_secret_value(), producer=producer, clock=clock)
