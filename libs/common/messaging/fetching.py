"""When a reader of the bus asks the broker for more."""

import contextlib
from collections.abc import Iterator

from aiokafka import AIOKafkaConsumer


@contextlib.contextmanager
def nothing_fetched(consumer: AIOKafkaConsumer, *, unless: bool = False) -> Iterator[None]:
    """
    Keep the client from fetching ahead inside the block; `unless` there is a backlog, of which it should.

    Enter it directly after `getmany`, with no `await` between. A client that fetches ahead is answered with the first
    record that comes, and then holds that one: the next batch is of one record, and of each partition another answer.
    What is asked for after the work and the rest comes in one piece, with one request for all partitions.
    """
    if unless:
        yield
        return
    consumer.pause(*consumer.assignment())
    try:
        yield
    finally:
        # Of partitions that are others' by now nothing is paused any more.
        consumer.resume(*consumer.paused())
