"""What the use cases need from the outside."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from libs.common.events.base import Envelope
from libs.common.events.storefront import RecommendationShown
from services.recommender.domain.baskets import Tally
from services.recommender.domain.histories import History
from services.recommender.domain.ranking import Evidence, Popular
from services.recommender.domain.windows import BrowsingWindow, WindowKey


class BehaviourStream(Protocol):
    """Where behaviour events go."""

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """
        Return once the stream has all `envelopes`.

        :raises Unavailable: if that is not certain in time.
        """
        ...


class ShownLog(Protocol):
    """Where it is noted which products were shown."""

    def note(self, event: RecommendationShown) -> None:
        """Note `event` without waiting; what cannot be noted is counted as lost."""
        ...


class Counts(Protocol):
    """
    What is known of visitors and products, in one transaction.

    What is loaded stays locked until the transaction ends. Call the methods in the order they stand here:
    transactions that lock in one order never wait for each other in a circle.
    """

    async def windows(self, keys: Collection[WindowKey]) -> Mapping[WindowKey, BrowsingWindow]:
        """Return the browsing window of each key, empty for a new one."""
        ...

    async def save_windows(self, windows: Mapping[WindowKey, BrowsingWindow]) -> None:
        """Replace windows that were loaded."""
        ...

    async def histories(self, user_ids: Collection[str]) -> Mapping[str, History]:
        """Return the history of each user, empty for a new one; of those who were erased there is none."""
        ...

    async def save_histories(self, histories: Mapping[str, History]) -> None:
        """Replace histories that were loaded."""
        ...

    async def add(self, tally: Tally) -> None:
        """Add the counts of a batch."""
        ...


class Reads(Protocol):
    """What answers are made of; every answer is bounded."""

    async def evidence(self, sku: str) -> Sequence[Evidence]:
        """Return what is counted about `sku` and the products that go with it most often."""
        ...

    async def history(self, user_id: str) -> History:
        """Return what a visitor or customer did lately, empty if nothing is known."""
        ...

    async def popular(self) -> Sequence[Popular]:
        """Return the most popular products."""
        ...
