"""Which refusal has which status; what is not here goes by its kind."""

from collections.abc import Mapping
from typing import Final

from libs.common.errors import DomainError

STATUS_BY_ERROR: Final[Mapping[type[DomainError], int]] = {}
