"""Turning a batch of events into counts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from libs.common.events.base import Event
from libs.common.events.orders import OrderConfirmed
from libs.common.events.storefront import CartAdded, ProductClicked, ProductViewed
from services.recommender.domain import popularity
from services.recommender.domain.baskets import Tally
from services.recommender.domain.histories import Occasion
from services.recommender.domain.windows import View, WindowKey
from services.recommender.handlers.ports import Counts

LEARNED_FROM: tuple[type[Event], ...] = (ProductViewed, ProductClicked, CartAdded, OrderConfirmed)


async def learn(events: Sequence[Event], *, counts: Counts) -> None:
    """
    Count what a batch of events says, once for the whole batch.

    Views are paired with others of their window, orders give pairs of what was bought, and everything adds
    to popularity and to the histories of those who did it. A cancelled order stays counted: it was wanted.
    """
    batch = _Batch()
    for event in events:
        batch.take(event)
    await _count_views(batch, counts)
    await _extend_histories(batch, counts)
    await counts.add(batch.tally)


@dataclass(slots=True)
class _Batch:
    """A batch, sorted by what it changes."""

    tally: Tally = field(default_factory=Tally)
    views: defaultdict[WindowKey, list[View]] = field(default_factory=lambda: defaultdict(list))
    interests: defaultdict[str, list[Occasion]] = field(default_factory=lambda: defaultdict(list))
    purchases: defaultdict[str, list[Occasion]] = field(default_factory=lambda: defaultdict(list))

    def take(self, event: Event) -> None:
        match event:
            case ProductViewed():
                key = WindowKey(event.visitor_id, event.session_id or "")
                self.views[key].append(View(event.sku, event.occurred_at, event.is_derived))
                self._note_interest(event, popularity.VIEW_WEIGHT)
            case ProductClicked():
                self._note_interest(event, popularity.CLICK_WEIGHT)
            case CartAdded():
                self._note_interest(event, popularity.CART_WEIGHT)
            case OrderConfirmed():
                skus = {allocation.sku for allocation in event.allocations}
                self.tally.count_purchase(skus, basket_id=str(event.order_id))
                for sku in skus:
                    self._add_popularity(sku, popularity.PURCHASE_WEIGHT, event.placed_at)
                    self.purchases[event.customer_id].append(Occasion(sku, event.placed_at))
            case _:
                message = f"nothing is learned from {event.type}"
                raise TypeError(message)

    def _note_interest(self, event: ProductViewed | ProductClicked | CartAdded, weight: float) -> None:
        self._add_popularity(event.sku, weight, event.occurred_at)
        # Whoever browses unnamed and is named later finds both histories under their own id.
        for user_id in {event.visitor_id, event.customer_id} - {None}:
            self.interests[str(user_id)].append(Occasion(event.sku, event.occurred_at))

    def _add_popularity(self, sku: str, weight: float, at: datetime) -> None:
        item = self.tally.items[sku]
        item.popularity = popularity.together(item.popularity, popularity.act(weight, at))


async def _count_views(batch: _Batch, counts: Counts) -> None:
    if not batch.views:
        return
    windows = dict(await counts.windows(batch.views))
    for key, views in batch.views.items():
        for view in sorted(views, key=lambda view: (view.viewed_at, view.sku)):
            sighting = windows[key].look(view)
            windows[key] = sighting.window
            if sighting.is_repeated:
                continue
            batch.tally.count_view(view.sku)
            for companion in sighting.companions:
                batch.tally.count_viewed_together(
                    view.sku,
                    companion.sku,
                    is_derived=view.is_derived or companion.is_derived,
                )
    await counts.save_windows(windows)


async def _extend_histories(batch: _Batch, counts: Counts) -> None:
    user_ids = batch.interests.keys() | batch.purchases.keys()
    if not user_ids:
        return
    histories = await counts.histories(user_ids)
    await counts.save_histories(
        {
            user_id: history.with_views(batch.interests.get(user_id, ())).with_purchases(
                batch.purchases.get(user_id, ())
            )
            for user_id, history in histories.items()
        }
    )
