"""Taking in what storefronts report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.events.base import Envelope
from libs.common.ids import new_id
from libs.common.privacy import Pseudonyms
from libs.common.telemetry.tracing import current_correlation_id, current_traceparent
from services.recommender import metrics
from services.recommender.domain.event_time import check_event_time
from services.recommender.domain.people import Behaviour, pseudonymous
from services.recommender.handlers.ports import BehaviourStream

SOURCE = "recommender"


@dataclass(frozen=True, slots=True)
class Report:
    """An event as it was reported; an `id` makes reporting it again have no second effect."""

    id: UUID | None
    event: Behaviour


def check_report(report: Report, *, now: datetime) -> None:
    """
    Refuse what cannot have happened.

    :raises ImplausibleTime: if `occurred_at` is far off.
    """
    check_event_time(report.event.occurred_at, now=now, field="occurred_at")


async def take_in(reports: Sequence[Report], *, stream: BehaviourStream, pseudonyms: Pseudonyms, clock: Clock) -> None:
    """
    Publish `reports` under pseudonyms and return once the broker has them.

    :raises Unavailable: if that is not certain; reporting the same ids again is safe.
    """
    envelopes = [_envelope(report, pseudonyms, clock) for report in reports]
    try:
        await stream.publish(envelopes)
    except Unavailable:
        metrics.behaviour_publish_failures_total.inc()
        raise
    for event_type, count in Counter(report.event.type for report in reports).items():
        metrics.behaviour_events_accepted_total.labels(event_type).inc(count)


def _envelope(report: Report, pseudonyms: Pseudonyms, clock: Clock) -> Envelope:
    return Envelope(
        id=report.id or new_id(),
        event=pseudonymous(report.event, pseudonyms),
        time=clock.now(),
        source=SOURCE,
        correlation_id=current_correlation_id(),
        traceparent=current_traceparent(),
    )
