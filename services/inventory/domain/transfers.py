"""
Units on their way from one warehouse to another, as objects: planned by people or rules, carried out by reports.

A plan is proposed, approved and cancelled by commands. What left and what arrived is said by the warehouses' reports,
which may come in any order, twice, and for transfers that nobody planned; they are facts, and no state refuses them. So
the status is never stored as a step that follows another: it is a pure function of the plan and of the sums of the
reports, and comes out the same whatever came first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, NamedTuple
from uuid import UUID

from libs.common.errors import Conflict, NotFound

LINES_MAX: Final = 500


class TransferNotFound(NotFound):
    """There is no transfer of this id."""

    code = "transfer-not-found"


class TransferRefused(Conflict):
    """The transfer is not in a state in which this can be done."""

    code = "transfer-refused"


class TransferShort(Conflict):
    """The source does not have the units that the transfer would take."""

    code = "transfer-short"


class Plan(StrEnum):
    """What was decided about a transfer before anything of it moved."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    CANCELLED = "cancelled"


class TransferStatus(StrEnum):
    """
    Where a transfer is.

    In `discrepancy` more arrived than left, or something came after it was closed: somebody has to close it.
    """

    PROPOSED = "proposed"
    APPROVED = "approved"
    CANCELLED = "cancelled"
    DISPATCHED = "dispatched"
    PARTIALLY_RECEIVED = "partially-received"
    RECEIVED = "received"
    DISCREPANCY = "discrepancy"
    CLOSED = "closed"


class Command(StrEnum):
    """What can be asked of a transfer."""

    APPROVE = "approve"
    CANCEL = "cancel"
    DISPATCH = "dispatch"
    RECEIVE = "receive"
    CLOSE = "close"


class Answer(StrEnum):
    """What a state says to a command: do it, it is so already, or no and why."""

    DO = "do"
    DONE = "done"
    NOT_APPROVED = "not-approved"
    NOTHING_LEFT = "nothing-left"
    HAS_LEFT = "has-left"
    IS_COMPLETE = "is-complete"
    IS_CANCELLED = "is-cancelled"
    IS_CLOSED = "is-closed"


REASONS: Final[Mapping[Answer, str]] = {
    Answer.NOT_APPROVED: "The transfer has not been approved.",
    Answer.NOTHING_LEFT: "Nothing of the transfer has left its source; cancel it instead.",
    Answer.HAS_LEFT: "Units of the transfer have left; it can only be received or closed.",
    Answer.IS_COMPLETE: "Everything that left has been received.",
    Answer.IS_CANCELLED: "The transfer was cancelled.",
    Answer.IS_CLOSED: "The transfer was closed.",
}

_ROWS: Final[Mapping[TransferStatus, tuple[Answer, Answer, Answer, Answer, Answer]]] = {
    # approve, cancel, dispatch, receive, close
    TransferStatus.PROPOSED: (
        Answer.DO,
        Answer.DO,
        Answer.NOT_APPROVED,
        Answer.NOTHING_LEFT,
        Answer.NOTHING_LEFT,
    ),
    TransferStatus.APPROVED: (Answer.DONE, Answer.DO, Answer.DO, Answer.NOTHING_LEFT, Answer.NOTHING_LEFT),
    TransferStatus.CANCELLED: (
        Answer.IS_CANCELLED,
        Answer.DONE,
        Answer.IS_CANCELLED,
        Answer.IS_CANCELLED,
        Answer.IS_CANCELLED,
    ),
    TransferStatus.DISPATCHED: (Answer.HAS_LEFT, Answer.HAS_LEFT, Answer.DO, Answer.DO, Answer.DO),
    TransferStatus.PARTIALLY_RECEIVED: (Answer.HAS_LEFT, Answer.HAS_LEFT, Answer.DO, Answer.DO, Answer.DO),
    TransferStatus.RECEIVED: (
        Answer.HAS_LEFT,
        Answer.HAS_LEFT,
        Answer.IS_COMPLETE,
        Answer.IS_COMPLETE,
        Answer.IS_COMPLETE,
    ),
    # The report that is missing may be that of the dispatch, or of another arrival.
    TransferStatus.DISCREPANCY: (Answer.HAS_LEFT, Answer.HAS_LEFT, Answer.DO, Answer.DO, Answer.DO),
    TransferStatus.CLOSED: (
        Answer.IS_CLOSED,
        Answer.IS_CLOSED,
        Answer.IS_CLOSED,
        Answer.IS_CLOSED,
        Answer.DONE,
    ),
}

TRANSITIONS: Final[Mapping[tuple[TransferStatus, Command], Answer]] = {
    (status, command): answer
    for status, answers in _ROWS.items()
    for command, answer in zip(Command, answers, strict=True)
}


class LineKey(NamedTuple):
    """One SKU of a transfer on its way to one warehouse."""

    sku: str
    destination: str


@dataclass(slots=True)
class TransferLine:
    """
    Units of one SKU: `dispatched + found = in transit + received + returned + written_off`.

    `held` of those `requested` are held at the source. `source` is the planned one, or of those reported the first by
    its code. What arrives at another warehouse than it was sent to counts as received there and stays in transit here,
    until the transfer is closed.
    """

    source: str | None = None
    requested: int = 0
    held: int = 0
    dispatched: int = 0
    received: int = 0
    returned: int = 0
    written_off: int = 0
    found: int = 0
    is_planned: bool = False

    @property
    def outstanding(self) -> int:
        """Units that left and have not arrived; negative if more arrived."""
        return self.dispatched + self.found - self.received - self.returned - self.written_off

    @property
    def in_transit(self) -> int:
        """Units on their way."""
        return max(0, self.outstanding)

    @property
    def undispatched(self) -> int:
        """Units that were asked for and have not left."""
        return max(0, self.requested - self.dispatched)


Missing = Literal["write-off", "return-to-source"]


class Settlement(NamedTuple):
    """How closing a transfer settled one line: units that `missed` or were `found` beyond what left, of either one."""

    key: LineKey
    source: str | None
    missed: int
    found: int


@dataclass(slots=True, kw_only=True, eq=False)
class Transfer:
    """
    A transfer: what was planned, and what is known of it.

    `version` counts its changes, `events` those that were published. `source` and `destination` are the planned ones;
    a transfer without a `plan` came into being by a report. `expected_at` is when it should have arrived.
    `dispatched_at` is when the first units left, `received_at` when the last ones arrived.
    """

    transfer_id: UUID
    version: int = 0
    events: int = 0
    plan: Plan | None = None
    is_automatic: bool = False
    source: str | None = None
    destination: str | None = None
    expected_at: datetime | None = None
    dispatched_at: datetime | None = None
    received_at: datetime | None = None
    is_closed: bool = False
    reason: str | None = None
    proposed_by: str | None = None
    decided_by: str | None = None
    decision_id: UUID | None = None
    value_minor: int | None = None
    currency: str | None = None
    lines: dict[LineKey, TransferLine] = field(default_factory=dict)
    changed_lines: set[LineKey] = field(default_factory=set)

    @property
    def status(self) -> TransferStatus:
        """Where it is, from the plan and the sums of its reports alone."""
        lines = self.lines.values()
        if not any(line.dispatched or line.received for line in lines):
            # Closing needs something that left, so that only a plan is left to speak.
            return TransferStatus(self.plan or Plan.PROPOSED)
        outstanding = [line.outstanding for line in lines]
        if any(units < 0 for units in outstanding):
            return TransferStatus.DISCREPANCY
        if any(outstanding):
            if self.is_closed:
                return TransferStatus.DISCREPANCY
            is_begun = any(line.received for line in lines)
            return TransferStatus.PARTIALLY_RECEIVED if is_begun else TransferStatus.DISPATCHED
        if self.is_closed:
            return TransferStatus.CLOSED
        return TransferStatus.PARTIALLY_RECEIVED if self._is_awaited() else TransferStatus.RECEIVED

    @property
    def skus(self) -> set[str]:
        """The SKUs of all lines."""
        return {key.sku for key in self.lines}

    @property
    def from_warehouse(self) -> str | None:
        """The planned source, or the reported one that sorts first."""
        return self.source or min((line.source for line in self.lines.values() if line.source), default=None)

    @property
    def to_warehouse(self) -> str | None:
        """The planned destination, or the reported one that sorts first."""
        return self.destination or min((key.destination for key in self.lines), default=None)

    def ask(self, command: Command) -> bool:
        """
        Answer whether `command` is to be carried out; False if that has been done already.

        :raises TransferRefused: if the state does not allow it.
        """
        answer = TRANSITIONS[self.status, command]
        if answer in REASONS:
            raise TransferRefused(REASONS[answer])
        return answer is Answer.DO

    def request(self, sku: str, units: int) -> None:
        """Plan to move units; what was planned of the SKU before is replaced."""
        if self.source is None or self.destination is None:
            msg = "a plan has its two ends"
            raise ValueError(msg)
        line = self._line(LineKey(sku, self.destination))
        line.source, line.is_planned, line.requested = self.source, True, units

    def dispatch(self, sku: str, units: int, *, source: str, destination: str, at: datetime) -> int:
        """Note that units left `source`; return how many of those held there are held no more because of that."""
        line = self._line(LineKey(sku, destination))
        line.dispatched += units
        if not line.is_planned:
            line.source = min(line.source or source, source)
        freed = min(line.held, units) if line.source == source else 0
        line.held -= freed
        self.dispatched_at = min(self.dispatched_at or at, at)
        return freed

    def receive(self, sku: str, units: int, *, destination: str, at: datetime) -> None:
        """Note that units arrived."""
        self._line(LineKey(sku, destination)).received += units
        self.received_at = max(self.received_at or at, at)

    def let_go(self) -> list[tuple[str, str, int]]:
        """Hold nothing more; return SKU, source and units of what was held."""
        freed = []
        for key, line in self.lines.items():
            if line.held and line.source is not None:
                freed.append((key.sku, line.source, line.held))
                line.held = 0
                self.changed_lines.add(key)
        return freed

    def settle(self, missing: Missing) -> list[Settlement]:
        """Take every difference between what left and what arrived for what it is; return those there were."""
        settled = []
        for key, line in sorted(self.lines.items()):
            units = line.outstanding
            if units > 0 and missing == "write-off":
                line.written_off += units
            elif units > 0:
                line.returned += units
            else:
                line.found -= units
            if units:
                settled.append(Settlement(key, line.source, missed=max(0, units), found=max(0, -units)))
                self.changed_lines.add(key)
        self.is_closed = True
        return settled

    def _is_awaited(self) -> bool:
        return self.plan is not Plan.CANCELLED and any(line.undispatched for line in self.lines.values())

    def _line(self, key: LineKey) -> TransferLine:
        self.changed_lines.add(key)
        return self.lines.setdefault(key, TransferLine())


def in_transit(lines: Iterable[TransferLine]) -> int:
    """Return the units of `lines` that are on their way."""
    return sum(line.in_transit for line in lines)
