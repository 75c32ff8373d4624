"""Which domain error is which HTTP status; those not named here take the status of their kind."""

from collections.abc import Mapping
from typing import Final

from libs.common.errors import DomainError

STATUS_BY_ERROR: Final[Mapping[type[DomainError], int]] = {}
