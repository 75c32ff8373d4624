"""Whom the shop does not sell to."""

from datetime import datetime
from uuid import UUID

from libs.common.ids import new_id
from services.orders.domain.order import OrderNotFound
from services.orders.domain.review import Subject
from services.orders.domain.review_blocks import Block, NothingToBlock, blocked_value
from services.orders.handlers.ports import Unit


async def block(
    subject: Subject,
    *,
    named: str | None,
    order_id: UUID | None,
    reason: str,
    by: str,
    expires_at: datetime | None,
    unit: Unit,
    now: datetime,
) -> Block:
    """
    Block what is `named`, or the subject of an order.

    :raises OrderNotFound: if there is no such order.
    :raises NothingToBlock: if nothing is named, or nothing is known of the order.
    :raises AlreadyBlocked: if that is blocked.
    """
    if order_id is not None:
        subjects = await unit.blocks.subjects_of(order_id)
        if not subjects:
            raise OrderNotFound(order_id)
        value = subjects.get(subject)
        if value is None:
            raise NothingToBlock(f"The {subject} of the order is not known.", field="/order_id")
    elif named is not None:
        value = blocked_value(subject, named)
    else:
        raise NothingToBlock("Name a value or an order.", field="/value")
    if expires_at is not None and expires_at <= now:
        raise NothingToBlock("The block would have ended already.", field="/expires_at")
    made = Block(
        id=new_id(),
        subject=subject,
        value=value,
        reason=reason,
        blocked_at=now,
        blocked_by=by,
        expires_at=expires_at,
    )
    await unit.blocks.add(made)
    return made
