"""Which business times can be true."""

from datetime import datetime, timedelta
from typing import Final

from libs.common.errors import Invalid

# The bundled data set is of 2010; what is older than this is a wrong unit or a missing time.
AGE_MAX: Final = timedelta(days=30 * 365)
# Clocks of browsers go wrong, but not by more than a time zone.
AHEAD_MAX: Final = timedelta(days=1)


class ImplausibleTime(Invalid):
    """The time is so far off that it must be a mistake."""

    code = "implausible-time"


def check_event_time(at: datetime, *, now: datetime, field: str) -> None:
    """
    Refuse a time that lies more than a day ahead or decades back.

    :raises ImplausibleTime: naming `field`.
    """
    if at > now + AHEAD_MAX:
        raise ImplausibleTime("The time lies more than a day in the future.", field=field)
    if at < now - AGE_MAX:
        raise ImplausibleTime("The time lies more than 30 years in the past.", field=field)
