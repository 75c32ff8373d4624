"""An application made once for many tests, each of which has its own clock and database behind it."""

from collections.abc import Callable
from typing import Any


class StandIn:
    """Stands for what `current` returns at the moment when an attribute of it is used or it is called."""

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Any:
        # What a route keeps of it, such as a bound method, must follow the current one too.
        value = getattr(self._current(), name)
        return StandIn(lambda: getattr(self._current(), name)) if callable(value) else value

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._current()(*arguments, **named)
