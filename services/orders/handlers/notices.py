"""
What payment providers tell on their own account: checked against what was asked, and applied through the saga's table.

A notice is no shortcut around the executor; whichever of the two comes first resolves the command, and the other
changes nothing. Money that turns up for an order that has ended is let go of, as always.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Protocol

from libs.common.errors import Invalid, NotFound
from libs.common.telemetry.logs import get_logger
from services.orders import metrics
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.payments import message_of
from services.orders.handlers.ports import KnownCommand, Notice, NoticedResult, PaymentOutcome, Unit

log = get_logger()


class NoticeNotVerified(Invalid):
    """The notice does not prove that it comes from the provider, or is too old to be taken."""

    code: ClassVar[str] = "notice-not-verified"


class NoticeUnreadable(Invalid):
    """The notice is signed and yet not of the form that the provider documents."""

    code: ClassVar[str] = "notice-unreadable"


class ProviderNotConfigured(NotFound):
    """The shop does not work with the provider."""

    code: ClassVar[str] = "payment-provider-not-configured"


class NoticeReader(Protocol):
    """Verifies and understands what one provider sends."""

    @property
    def acknowledgement(self) -> str:
        """What the provider takes for "received"."""
        ...

    def read(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Notice:
        """
        Return what a request says.

        :raises NoticeNotVerified: if its signature or time is not right.
        :raises NoticeUnreadable: if it is not what it should be.
        """
        ...


class Reception(StrEnum):
    """What became of a notice, or of one of its results."""

    APPLIED = "applied"
    REPEATED = "repeated"
    UNKNOWN_COMMAND = "unknown-command"
    MISMATCH = "mismatch"
    NOTHING_NEW = "nothing-new"


_DECIDED: Final = frozenset({PaymentOutcome.SUCCEEDED, PaymentOutcome.DECLINED})


async def receive_notice(notice: Notice, *, unit: Unit, policy: Policy, now: datetime) -> list[Reception]:
    """Apply a notice once, and return what became of each of its results."""
    if not await unit.notices.add(notice, now=now):
        receptions = [Reception.REPEATED]
    else:
        receptions = await _apply(notice, unit, policy, now)
    unit.after_commit(lambda: _count(notice, receptions))
    return receptions


async def _apply(notice: Notice, unit: Unit, policy: Policy, now: datetime) -> list[Reception]:
    results = [one for one in notice.results if one.result.outcome in _DECIDED]
    known = await unit.notices.commands([one.command_id for one in results])
    saga = Saga(unit, policy=policy, now=now)
    await saga.load({command.order_id for command in known.values()})
    receptions: list[Reception] = []
    for one in results:
        command = known.get(one.command_id)
        if command is None:
            receptions.append(Reception.UNKNOWN_COMMAND)
        elif not _is_about(one, command, notice.provider):
            log.error("payment_notice.mismatch", provider=notice.provider, command_id=str(command.id), kind=one.kind)
            receptions.append(Reception.MISMATCH)
        else:
            saga.apply(command.order_id, message_of(command.kind, command.id, one.result))
            receptions.append(Reception.APPLIED)
    await saga.write()
    return receptions or [Reception.NOTHING_NEW]


def _is_about(one: NoticedResult, command: KnownCommand, provider: str) -> bool:
    said = (provider, one.kind, one.amount_minor, one.currency)
    return said == (command.provider, command.kind, command.amount_minor, command.currency)


def _count(notice: Notice, receptions: Sequence[Reception]) -> None:
    for reception in receptions:
        metrics.orders_payment_notices_total.labels(notice.provider, reception).inc()
