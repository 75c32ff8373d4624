"""Which views belong together: those of one session, or of one visitor within half an hour."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

WINDOW: Final = timedelta(minutes=30)
# A crawler that looks at everything in one session must not pair everything with everything.
WINDOW_VIEWS_MAX: Final = 20


class WindowKey(NamedTuple):
    """Whose window it is: a session of a visitor, or all of a visitor's views that name no session ("")."""

    visitor_id: str
    session_id: str

    @property
    def has_session(self) -> bool:
        """Tell whether the visitor's storefront knows what a session is."""
        return bool(self.session_id)


@dataclass(frozen=True, slots=True)
class View:
    """One look at a product, at event time."""

    sku: str
    viewed_at: datetime
    is_derived: bool = False


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    What a view added to a window.

    `companions` are the views it goes together with; a repeated view adds nothing, so that reloading a page
    counts once.
    """

    window: "BrowsingWindow"
    is_repeated: bool
    companions: tuple[View, ...]


@dataclass(frozen=True, slots=True)
class BrowsingWindow:
    """
    The latest view of each product, at most 20, of one session or of one visitor without sessions.

    Within a session all products go together, in whatever order their views arrive. Without one, views go
    together that are at most 30 minutes of event time apart.
    """

    has_session: bool
    views: tuple[View, ...] = ()

    def look(self, view: View) -> Sighting:
        """Add `view`."""
        known = next((one for one in self.views if one.sku == view.sku), None)
        others = tuple(one for one in self.views if one is not known)
        latest = view if known is None or view.viewed_at > known.viewed_at else known
        window = BrowsingWindow(self.has_session, _latest((*others, latest)))
        if known is not None and self._joins(known, view):
            return Sighting(window, is_repeated=True, companions=())
        companions = tuple(one for one in others if self._joins(one, view))
        return Sighting(window, is_repeated=False, companions=companions)

    def _joins(self, one: View, other: View) -> bool:
        return self.has_session or abs(one.viewed_at - other.viewed_at) <= WINDOW


def _latest(views: Iterable[View]) -> tuple[View, ...]:
    newest_first = sorted(views, key=lambda view: (view.viewed_at, view.sku), reverse=True)
    return tuple(newest_first[:WINDOW_VIEWS_MAX])
