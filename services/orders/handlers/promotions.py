"""What is kept of promotions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.orders.domain.promotions import Allowance, Promotion, PromotionChange, PromotionUse


class Promotions(Protocol):
    """The promotions and their versions."""

    async def put(self, promotion: Promotion, *, principal: str, now: datetime) -> int | None:
        """Make a promotion be so; return its new version, None if it was so before."""
        ...

    async def find(self, codes: Collection[str]) -> Mapping[str, Promotion]:
        """Return those that exist, by their codes."""
        ...

    async def lock_allowances(self, uses: Collection[PromotionUse]) -> dict[str, Allowance]:
        """Lock the promotions that are to be used, in the order of their codes, and return what they still allow."""
        ...

    def use(self, uses: Collection[PromotionUse], *, now: datetime) -> None:
        """Count uses of locked promotions, once the transaction writes."""
        ...

    async def as_of(self, codes: Collection[str], moment: datetime) -> Mapping[str, Promotion]:
        """Return promotions as they were at a moment, by their codes; those that were not yet are left out."""
        ...

    async def counted_of(self, order_id: UUID) -> Mapping[str, int]:
        """Return what a locked order takes off by each promotion that counts its use, in minor units."""
        ...

    async def lock_allowance(self, code: str) -> Allowance | None:
        """Lock a promotion, and return what it still allows, by all customers."""
        ...

    async def take_more_off(self, order_id: UUID, code: str, more_minor: int) -> None:
        """Count that an order's use of a locked promotion takes so much more off."""
        ...

    async def recount(self, order_ids: Collection[UUID], *, now: datetime) -> None:
        """Let promotions have back what locked orders no longer take off by them, and uses that are none any more."""
        ...

    async def allowance_of(self, code: str) -> Allowance | None:
        """Return what a promotion still allows, by all customers; None if there is no such promotion."""
        ...

    async def page(self, *, after: str | None, limit: int) -> Sequence[Promotion]:
        """Return promotions in the order of their codes."""
        ...

    async def changes_of(self, code: str, *, limit: int) -> Sequence[PromotionChange]:
        """Return the versions that a promotion had, the latest first."""
        ...
