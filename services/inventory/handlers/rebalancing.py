"""Proposing transfers before a warehouse runs short, and taking back proposals that are not needed any more."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from libs.common.decisions import Alternative, Decision
from libs.common.events.base import Event
from libs.common.events.inventory import TransferCancelled
from libs.common.ids import new_id
from services.inventory.domain.rebalancing import (
    NOTHING_DECLINED,
    RULE,
    Move,
    Position,
    RebalancingPolicy,
    is_outdated,
    plan_moves,
)
from services.inventory.domain.transfers import Plan, Transfer, TransferRefused, TransferShort, TransferStatus
from services.inventory.domain.warehouses import Warehouse, distance_km
from services.inventory.handlers.desk import Desk
from services.inventory.handlers.ports import Tools
from services.inventory.handlers.transfers import Request, approve_transfer, finish, proposed

BY_RULE: Final = "rule"
_WITHDRAWN: Final = "not needed any more"


class OpenProposal(NamedTuple):
    """A proposal by rule that nobody has decided: there is one of a SKU, a source and a destination."""

    transfer_id: UUID
    sku: str
    source: str
    destination: str
    units: int


class RebalancingStore(Protocol):
    """What rebalancing reads, in one transaction."""

    async def take_turn(self) -> bool:
        """Answer whether nobody else proposes now; nobody will until the transaction ends."""
        ...

    async def next_skus(self, *, after_sku: str, limit: int) -> list[str]:
        """Return the next SKUs behind `after_sku`."""
        ...

    async def positions(
        self, skus: Collection[str], *, now: datetime, demand_days: float
    ) -> Mapping[str, Sequence[Position]]:
        """Return where each SKU is, as if no proposal by rule were open."""
        ...

    async def open_proposals(self, skus: Collection[str]) -> list[OpenProposal]:
        """Return the proposals by rule that nobody has decided."""
        ...

    async def declined_proposals(self, skus: Collection[str], *, since: datetime) -> list[OpenProposal]:
        """Return the latest proposals by rule that people have cancelled since then."""
        ...

    async def approvable(self, *, below_minor: int, currency: str, after: UUID, limit: int) -> list[UUID]:
        """Return open proposals by rule whose units are worth less than `below_minor`."""
        ...


@dataclass(slots=True)
class Rebalancing:
    """
    One round after the other over all SKUs, a page at a time.

    What a person has cancelled is proposed again after `declined_days`; until then other sources are asked, and the
    same one only if much more is needed than they can give.
    """

    policy: RebalancingPolicy
    demand_days: float = 28.0
    declined_days: float = 7.0
    page_skus: int = 200
    _after_sku: str = ""

    async def next_page(self, store: RebalancingStore, tools: Tools) -> tuple[bool, Counter[str]]:
        """Bring the proposals of the next SKUs up to date; return whether the round goes on, and what was done."""
        if not await store.take_turn():
            return False, Counter()
        skus = await store.next_skus(after_sku=self._after_sku, limit=self.page_skus)
        outcomes = await self._propose(skus, store, tools) if skus else Counter[str]()
        goes_on = len(skus) == self.page_skus
        self._after_sku = skus[-1] if goes_on else ""
        return goes_on, outcomes

    async def _propose(self, skus: Sequence[str], store: RebalancingStore, tools: Tools) -> Counter[str]:
        now = tools.clock.now()
        warehouses = {warehouse.code: warehouse for warehouse in await tools.warehouses.all()}
        positions = await store.positions(skus, now=now, demand_days=self.demand_days)
        open_proposals = {(one.sku, one.source, one.destination): one for one in await store.open_proposals(skus)}
        declined_since = now - timedelta(days=self.declined_days)
        declined = defaultdict[str, dict[tuple[str, str], int]](dict)
        for one in await store.declined_proposals(skus, since=declined_since):
            # What is open was proposed for more than was declined, and waits for an answer of its own.
            if (one.sku, one.source, one.destination) not in open_proposals:
                declined[one.sku][one.source, one.destination] = one.units
        costs = await tools.counts.unit_costs([sku for sku in skus if len(positions.get(sku, ())) > 1])
        page = _Page(tools, self.policy, now)
        for sku in skus:
            cost = costs.get(sku)
            unit_minor = float(cost.minor) if cost and cost.currency == self.policy.currency else None
            moves = plan_moves(
                positions.get(sku, ()),
                self.policy,
                unit_minor=unit_minor,
                distance_km=lambda source, destination: _distance(warehouses, source, destination),
                declined=declined.get(sku, NOTHING_DECLINED),
            )
            there = {place.warehouse: place for place in positions.get(sku, ())}
            for move in moves:
                key = sku, move.chosen.source, move.destination
                known = open_proposals.pop(key, None)
                if known is None or is_outdated(known.units, move.chosen.units):
                    page.want(sku, move, there, unit_minor, known)
        for withdrawn in open_proposals.values():
            page.withdraw(withdrawn)
        return await page.save()


@dataclass(slots=True)
class _Page:
    """What is to be written of one page."""

    tools: Tools
    policy: RebalancingPolicy
    now: datetime
    _wanted: dict[UUID, tuple[str, Move, Mapping[str, Position], float | None]] = field(default_factory=dict)
    _new: set[UUID] = field(default_factory=set)
    _withdrawn: set[UUID] = field(default_factory=set)

    def want(
        self,
        sku: str,
        move: Move,
        there: Mapping[str, Position],
        unit_minor: float | None,
        known: OpenProposal | None,
    ) -> None:
        transfer_id = known.transfer_id if known else new_id()
        self._wanted[transfer_id] = (sku, move, there, unit_minor)
        if known is None:
            self._new.add(transfer_id)

    def withdraw(self, proposal: OpenProposal) -> None:
        self._withdrawn.add(proposal.transfer_id)

    async def save(self) -> Counter[str]:
        outcomes = Counter[str]()
        ids = self._wanted.keys() | self._withdrawn
        if not ids:
            return outcomes
        if self._new:
            await self.tools.transfers.add(self._new, created_at=self.now)
        transfers = await self.tools.transfers.load(ids)
        events: dict[UUID, Sequence[Event]] = {}
        changed = []
        for transfer_id, transfer in sorted(transfers.items()):
            # Somebody may have decided it meanwhile.
            if transfer_id not in self._new and transfer.status is not TransferStatus.PROPOSED:
                continue
            changed.append(transfer)
            if transfer_id in self._withdrawn:
                transfer.plan, transfer.reason, transfer.decided_by = Plan.CANCELLED, _WITHDRAWN, BY_RULE
                events[transfer_id] = [TransferCancelled(transfer_id=transfer_id, reason=_WITHDRAWN)]
                outcomes["withdrawn"] += 1
            else:
                self._plan(transfer, *self._wanted[transfer_id])
                events[transfer_id] = [proposed(transfer)]
                outcomes["proposed" if transfer_id in self._new else "revised"] += 1
        await finish(changed, events, self.tools)
        return outcomes

    def _plan(
        self, transfer: Transfer, sku: str, move: Move, there: Mapping[str, Position], unit_minor: float | None
    ) -> None:
        chosen = move.chosen
        transfer.plan, transfer.is_automatic, transfer.proposed_by = Plan.PROPOSED, True, BY_RULE
        transfer.source, transfer.destination = chosen.source, move.destination
        transfer.expected_at = self.now + timedelta(days=self.policy.lead_days)
        transfer.request(sku, chosen.units)
        if unit_minor is not None:
            transfer.value_minor, transfer.currency = round(unit_minor * chosen.units), self.policy.currency
        decision = _decision(transfer.transfer_id, sku, move, there, unit_minor, self.policy, self.now)
        transfer.decision_id, transfer.reason = decision.id, decision.reason
        self.tools.decisions.add(decision)


async def approve_cheap(
    store: RebalancingStore, tools: Tools, *, below_minor: int, currency: str, after: UUID
) -> tuple[UUID | None, Desk | None]:
    """
    Approve the next proposal by rule that is worth less than `below_minor`, in a transaction of its own.

    Return its id, None if there is none behind `after`, and what came of it, None if it could not be approved.
    """
    found = await store.approvable(below_minor=below_minor, currency=currency, after=after, limit=1)
    if not found:
        return None, None
    try:
        return found[0], await approve_transfer(Request(transfer_id=found[0], by=BY_RULE), tools=tools)
    except (TransferShort, TransferRefused):
        # The units are gone, or somebody else has decided: the next round sees to it.
        return found[0], None


def _distance(warehouses: Mapping[str, Warehouse], source: str, destination: str) -> float:
    one, other = warehouses[source], warehouses[destination]
    return distance_km(one.latitude, one.longitude, other.latitude, other.longitude)


def _declined(move: Move) -> str:
    """Return the sentence about the sources that somebody has lately said no to, none if there are none."""
    sources = sorted(option.source for option in move.options if option.declined_units)
    return f" A move from {' and '.join(sources)} was declined." if sources else ""


def _decision(  # noqa: PLR0917 - everything that a record tells
    transfer_id: UUID,
    sku: str,
    move: Move,
    there: Mapping[str, Position],
    unit_minor: float | None,
    policy: RebalancingPolicy,
    now: datetime,
) -> Decision:
    chosen, place = move.chosen, there[move.destination]
    return Decision(
        decision="propose-transfer",
        subject=f"transfer:{transfer_id}",
        chosen=f"{chosen.units} units from {chosen.source} to {move.destination}",
        reason=(
            f"{move.destination} will be {move.short_units} units short within {policy.horizon_days:g} days;"
            f" {chosen.source} keeps its own cover. The move avoids {chosen.avoided_units} of them, which would cost"
            f" {round(chosen.benefit_minor)} in minor units of {policy.currency}, for {round(chosen.cost_minor)}."
            f" A higher score avoids more shortage for its cost.{_declined(move)}"
        ),
        rule=RULE,
        decided_at=now,
        alternatives=[
            Alternative(
                option=option.source,
                score=round(option.score_minor, 2),
                details={
                    "units": option.units,
                    "avoided_units": option.avoided_units,
                    "avoided_minor": option.benefit_minor,
                    "cost_minor": option.cost_minor,
                    "declined_units": option.declined_units,
                },
            )
            for option in move.options
        ],
        inputs={
            "sku": sku,
            "short_units": move.short_units,
            "avoided_units": chosen.avoided_units,
            "avoided_minor": chosen.benefit_minor if unit_minor is not None else None,
            "cost_minor": chosen.cost_minor,
            "currency": policy.currency,
            "demand_per_day": round(place.per_day, 3),
            "cover_days": None if place.cover_days is None else round(place.cover_days, 1),
            "waiting_units": place.backlog,
        },
    )
