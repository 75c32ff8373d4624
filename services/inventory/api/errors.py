"""Which refusal has which status; those of the general kinds are common to all services."""

from collections.abc import Mapping
from typing import Final

from libs.common.errors import DomainError

STATUS_BY_ERROR: Final[Mapping[type[DomainError], int]] = {}
