"""Which status each of the catalog's refusals is answered with, where it is not that of its general kind."""

from http import HTTPStatus

from libs.common.errors import DomainError
from services.catalog.domain.category import CategoryCycle, CategoryTooDeep

# Correct in itself, the move contradicts the tree as it stands.
STATUS_BY_ERROR: dict[type[DomainError], int] = {
    CategoryCycle: HTTPStatus.CONFLICT,
    CategoryTooDeep: HTTPStatus.CONFLICT,
}
