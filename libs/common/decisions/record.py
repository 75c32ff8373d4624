"""The decision record."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from libs.common.ids import new_id


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could have been chosen; lower or higher `score` is better as the decision's reason says."""

    option: str
    score: float | None = None
    details: dict[str, Any] = msgspec.field(default_factory=dict)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """
    One automated choice.

    `decision` names the kind (`allocate-stock`, `choose-carrier`), `subject` what it was about
    (`order:<id>`), `rule` the rule or model and its version (`single-source-first/1`).
    """

    id: UUID = msgspec.field(default_factory=new_id)
    decision: str
    subject: str
    chosen: str
    reason: str
    rule: str
    decided_at: datetime
    alternatives: Sequence[Alternative] = ()
    inputs: Mapping[str, Any] = msgspec.field(default_factory=dict)


class DecisionLog(Protocol):
    """What a use case needs in order to record a decision."""

    def add(self, decision: Decision) -> None:
        """Record `decision` if and only if the surrounding transaction commits."""
        ...

    async def add_all(self, decisions: Sequence[Decision]) -> None:
        """Record `decisions` likewise; many are written while the caller goes on."""
        ...
