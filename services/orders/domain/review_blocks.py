"""Customers, addresses and e-mail addresses that a shop does not want to sell to."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from libs.common.errors import Conflict, Invalid, NotFound
from services.orders.domain.review import Subject, email_hash

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CUSTOMER_LENGTH_MAX: Final = 64


class BlockNotFound(NotFound):
    """There is no block with this id, or it was lifted."""

    code: ClassVar[str] = "block-not-found"

    def __init__(self, block_id: UUID) -> None:
        """Name the block."""
        super().__init__(f"There is no block {block_id} that could be lifted.")


class AlreadyBlocked(Conflict):
    """The same is blocked already."""

    code: ClassVar[str] = "already-blocked"

    def __init__(self, block_id: UUID) -> None:
        """Name the block that there is."""
        super().__init__(f"That is blocked already, by block {block_id}; lift it first to block it otherwise.")


class NothingToBlock(Invalid):
    """What is to be blocked is not named, or is not known of the order."""

    code: ClassVar[str] = "nothing-to-block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block and who is answerable for it; `value` is a customer's id, or the hash of an address."""

    id: UUID
    subject: Subject
    value: str
    reason: str
    blocked_at: datetime
    blocked_by: str
    expires_at: datetime | None = None
    lifted_at: datetime | None = None
    lifted_by: str | None = None
    lifted_reason: str | None = None


def blocked_value(subject: Subject, named: str) -> str:
    """
    Return under which value something is blocked: customers by their ids, all else by hashes.

    An e-mail address is hashed here and kept nowhere.

    :raises NothingToBlock: if it is neither a hash nor anything that has one.
    """
    if subject is Subject.CUSTOMER:
        if len(named) > _CUSTOMER_LENGTH_MAX:
            raise NothingToBlock(f"An id has at most {_CUSTOMER_LENGTH_MAX} characters.", field="/value")
        return named
    if _HASH.fullmatch(named):
        return named
    if subject is Subject.EMAIL and "@" in named:
        return email_hash(named)
    raise NothingToBlock("Name a SHA-256 in 64 hexadecimal digits, or an order.", field="/value")
