"""
The money of an order in double entry.

Each fact moves an amount from one account to another, so that none can be booked out of balance: an order's entries
always sum to zero. What the provider holds for us is kept apart from what it has moved, in a pair of accounts of its
own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID


class Account(StrEnum):
    """Where money of an order can be. The balance of an account is what was debited less what was credited."""

    # What the provider holds for us, and that it is not ours yet.
    HELD = "held-by-provider"
    COMMITTED = "committed-by-customer"
    # Goods have left, their price is not captured yet.
    RECEIVABLE = "customer-receivable"
    # What the provider owes us: captured less refunded.
    CLEARING = "provider-clearing"
    REVENUE = "revenue"
    REFUNDS = "refunds"
    WRITE_OFFS = "write-offs"
    # Paid back by a person, past the provider.
    ELSEWHERE = "settled-elsewhere"


class Fact(StrEnum):
    """What can happen to an order's money."""

    AUTHORISED = "authorised"
    EARNED = "earned"
    CAPTURED = "captured"
    RELEASED = "released"
    VOIDED = "voided"
    REFUNDED = "refunded"
    UNEARNED = "unearned"
    WRITTEN_OFF = "written-off"
    REPAID_ELSEWHERE = "repaid-elsewhere"


# The account that is debited and the one that is credited.
ENTRIES: Final[Mapping[Fact, tuple[Account, Account]]] = {
    Fact.AUTHORISED: (Account.HELD, Account.COMMITTED),
    Fact.EARNED: (Account.RECEIVABLE, Account.REVENUE),
    Fact.CAPTURED: (Account.CLEARING, Account.RECEIVABLE),
    Fact.RELEASED: (Account.COMMITTED, Account.HELD),
    Fact.VOIDED: (Account.COMMITTED, Account.HELD),
    Fact.REFUNDED: (Account.REFUNDS, Account.CLEARING),
    Fact.UNEARNED: (Account.REVENUE, Account.RECEIVABLE),
    Fact.WRITTEN_OFF: (Account.WRITE_OFFS, Account.RECEIVABLE),
    Fact.REPAID_ELSEWHERE: (Account.REFUNDS, Account.ELSEWHERE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A fact about a payment step, once for each step; `amount_minor` is above 0."""

    step_id: UUID
    fact: Fact
    amount_minor: int

    @property
    def debit(self) -> Account:
        """The account that gets more."""
        return ENTRIES[self.fact][0]

    @property
    def credit(self) -> Account:
        """The account that gets less."""
        return ENTRIES[self.fact][1]


def balances(transfers: Iterable[Transfer]) -> dict[Account, int]:
    """Return the balance of every account that the transfers touch, in minor units; they sum to zero."""
    found: dict[Account, int] = {}
    for one in transfers:
        found[one.debit] = found.get(one.debit, 0) + one.amount_minor
        found[one.credit] = found.get(one.credit, 0) - one.amount_minor
    return found
