"""Transfers among everything else that happens: planned, approved, called off, carried out and closed."""

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from libs.common.errors import Conflict
from libs.common.events.shapes import SkuQuantity
from services.inventory.domain.transfers import Missing
from services.inventory.handlers.ports import Tools
from services.inventory.handlers.transfers import (
    Moved,
    PlannedTransfer,
    Request,
    UnusableTransfer,
    approve_transfer,
    cancel_transfer,
    close_transfer,
    dispatch_transfer,
    propose_transfer,
    receive_transfer,
)
from tests.integration.inventory.interleaving import Frame, baskets
from tests.unit.inventory.builders import envelope, received

# How far a transfer goes at once; others have their turn between what is left of it.
_COURSES: Final = (
    ("approve", "dispatch", "receive"),
    ("approve", "dispatch", "close"),
    ("approve", "dispatch"),
    ("approve",),
    (),
)
_missing: Final[st.SearchStrategy[Missing]] = st.sampled_from(("write-off", "return-to-source"))


class TransferRules(Frame):
    """People plan and decide; what they may not do they are told."""

    faults: ClassVar[Mapping[str, str]] = {
        # Every unit that the lines know of is in the ledger, and every unit in transit is in a level.
        "transfers lose or make units": """
            WITH ledger AS (
                SELECT coalesce(-sum(delta_on_hand) FILTER (WHERE kind = 'transfer-out'), 0) AS sent,
                       coalesce(sum(delta_on_hand) FILTER (WHERE kind = 'transfer-in'), 0) AS came
                FROM stock_movements
            ), levels AS (SELECT coalesce(sum(in_transit), 0) AS moving FROM stock_levels)
            SELECT * FROM ledger, levels, (
                SELECT coalesce(sum(dispatched), 0) AS dispatched,
                       coalesce(sum(received + returned + written_off - found), 0) AS arrived,
                       coalesce(sum(greatest(0, dispatched + found - received - returned - written_off)), 0) AS on_way,
                       coalesce(bool_and(held <= requested), true) AS holds_are_planned
                FROM transfer_lines
            ) AS sums WHERE (sent, came, moving) <> (dispatched, arrived, on_way) OR NOT holds_are_planned
        """,
        "a transfer that will not leave holds units": """
            SELECT transfer_id, sku, held FROM transfer_lines JOIN transfers USING (transfer_id)
            WHERE held > 0 AND (plan IS DISTINCT FROM 'approved' OR is_closed)
        """,
        "what left is held all the same": """
            SELECT transfer_id, sku, held FROM transfer_lines JOIN transfers USING (transfer_id)
            WHERE held > greatest(0, requested - dispatched)
        """,
    }

    def transfer_ids(self) -> list[UUID]:
        rows = self.run(self.shop.rows("SELECT transfer_id FROM transfers ORDER BY created_at, transfer_id"))
        return [row["transfer_id"] for row in rows]

    def attempt(self, work: Callable[[Tools], Awaitable[object]]) -> None:
        async def in_transaction() -> None:
            async with self.database.transaction() as transaction:
                await work(self.shop.adapters.tools_of(transaction))

        try:
            self.run(in_transaction())
        except (Conflict, UnusableTransfer):
            return

    @rule(basket=baskets)
    def a_transfer_is_planned_and_called_off(self, basket: dict[str, int]) -> None:
        self._plan(basket, ("approve", "cancel"), "write-off")

    @rule(basket=baskets, then=st.sampled_from(_COURSES), missing=_missing)
    def a_transfer_is_planned(self, basket: dict[str, int], then: tuple[str, ...], missing: Missing) -> None:
        self._plan(basket, then, missing)

    def _plan(self, basket: dict[str, int], then: tuple[str, ...], missing: Missing) -> None:
        lines = [SkuQuantity(sku=sku, quantity=units) for sku, units in basket.items()]
        planned = PlannedTransfer(source="LON", destination="MAN", lines=lines)
        # Most of what is planned should be there.
        self.report(*(envelope(received(units, sku, at="LON")) for sku, units in basket.items() if units % 3))
        known = set(self.transfer_ids())
        self.attempt(lambda tools: propose_transfer(planned, tools=tools, by="test"))
        for transfer_id in set(self.transfer_ids()) - known:
            for command in then:
                self._carry_out(command, Request(transfer_id=transfer_id, by="test"), missing)

    @rule(
        data=st.data(),
        commands=st.lists(st.sampled_from(("approve", "cancel", "dispatch", "receive", "close")), max_size=3),
        missing=_missing,
    )
    def a_transfer_goes_on(self, data: st.DataObject, commands: list[str], missing: Missing) -> None:
        if known := self.transfer_ids():
            request = Request(transfer_id=data.draw(st.sampled_from(known)), by="test")
            for command in commands:
                self._carry_out(command, request, missing)

    def _carry_out(self, command: str, request: Request, missing: Missing) -> None:
        moved = Moved(at=self.shop.clock.now())

        async def work(tools: Tools) -> None:
            match command:
                case "approve":
                    await approve_transfer(request, tools=tools)
                case "cancel":
                    await cancel_transfer(request, reason="test", tools=tools)
                case "dispatch":
                    await dispatch_transfer(request, moved, tools=tools, age_years_max=10)
                case "receive":
                    await receive_transfer(request, moved, tools=tools, age_years_max=10)
                case _:
                    await close_transfer(request, reason="test", missing=missing, tools=tools)

        self.attempt(work)
