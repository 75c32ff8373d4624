"""What the routes work with, made once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from services.logistics.handlers.ports import Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The database, and how the API uses it."""

    database: Database
    clock: Clock
    open_desk: Callable[[Transaction], Desk]
    eta_threshold: timedelta
    currency: str
    # How often an open event stream looks for news.
    stream_poll_seconds: float = 1.0


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


OurBackend = Annotated[Backend, Depends(_backend)]
