"""How use cases publish: the port behind which `libs.common.outbox` stands."""

from typing import Protocol
from uuid import UUID

from libs.common.events.base import Envelope, Event


class Outbox(Protocol):
    """What a use case needs in order to publish."""

    def add(
        self,
        event: Event,
        *,
        aggregate_version: int | None = None,
        cause: Envelope | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> UUID:
        """
        Publish `event` if and only if the surrounding transaction commits; return its id.

        `aggregate_version` counts the events of the aggregate from 1; `cause` is the event that led to it. What no
        cause tells is `correlation_id`, and a new position in the trace of `traceparent`; else what this task has.

        :raises EventTooLarge: if it would not fit into a message.
        """
        ...
