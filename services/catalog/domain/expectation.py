"""What a caller believes about the thing it is about to change."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from libs.common.errors import PreconditionFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The version, or the absence, that a change is based on; without either, any state will do."""

    versions: Container[int] | None = None
    exists: bool | None = None

    def check(self, version: int | None) -> None:
        """
        Compare with the current version, None for what does not exist.

        :raises PreconditionFailed: if the change was based on something else.
        """
        if self.exists is False and version is not None:
            raise PreconditionFailed(f"It exists already, at version {version}.", field="If-None-Match")
        if self.exists is True and version is None:
            raise PreconditionFailed("It does not exist.", field="If-Match")
        if self.versions is not None and (version is None or version not in self.versions):
            raise PreconditionFailed(f"The current version is {version}.", field="If-Match")


ANYTHING: Final = Expectation()
