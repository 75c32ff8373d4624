"""Carts hold units, and orders take them over; safety stock changes under them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from services.inventory.domain.holds import ANYWHERE, HoldPolicies, Mode
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.bundles import put_bundle
from services.inventory.handlers.holds import (
    CommitHold,
    CommitLine,
    ExtendHold,
    HoldCommand,
    HoldState,
    PlaceHold,
    ReleaseHold,
    apply_hold_commands,
    expire_holds,
)
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.interleaving import SKUS, Frame, baskets, order_numbers, skus, times
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, approved, envelope, minutes, returned

# Some of their ids are those of orders.
hold_numbers = st.integers(6, 12)

FATES = ("extended", "released", "leaves", "leaves in part", "ordered", "expires")

_HELD = """
SELECT order_id, sku, warehouse, quantity - committed_quantity AS units
FROM reservation_lines JOIN reservations USING (order_id)
WHERE order_id = $1 AND expires_at IS NOT NULL AND quantity > committed_quantity ORDER BY sku, warehouse
"""
_FREE = "SELECT coalesce(sum(on_hand - reserved), 0)::bigint AS units FROM stock_levels WHERE sku = $1"
_PROMISABLE = """
SELECT coalesce(sum(greatest(0, on_hand - reserved - blocked - $2)), 0)::bigint AS units
FROM stock_levels WHERE sku = $1
"""
_WAITED_FOR = "SELECT sum(quantity) AS units FROM backorder_lines WHERE sku = $1"


class HoldRules(Frame):
    """Holds begin, are extended, committed, released, taken over by orders, and expire."""

    faults: ClassVar[Mapping[str, str]] = {
        "a hold outlives its time, or waits": """
            SELECT order_id FROM reservations WHERE expires_at IS NOT NULL
                AND (status IN ('waiting', 'partly-held') OR status = 'held' AND expires_at <= $1::timestamptz)
        """,
    }

    def __init__(self) -> None:
        super().__init__()
        self.holds: set[UUID] = set()

    @rule(
        placed=st.dictionaries(hold_numbers, baskets, min_size=1, max_size=3),
        mode=st.sampled_from(("all-or-nothing", "best-effort")),
        is_split_allowed=st.booleans(),
        ttl_seconds=st.integers(1, 3600),
        fates=st.lists(st.sampled_from(FATES), max_size=3),
        data=st.data(),
    )
    def carts_hold_units(
        self,
        *,
        placed: dict[int, dict[str, int]],
        mode: Mode,
        is_split_allowed: bool,
        ttl_seconds: int,
        fates: list[str],
        data: st.DataObject,
    ) -> None:
        self._command(
            *(
                PlaceHold(
                    reservation_id=UUID(int=number),
                    channel="web",
                    wanted=basket,
                    destination=ANYWHERE,
                    mode=mode,
                    is_split_allowed=is_split_allowed,
                    ttl_seconds=ttl_seconds,
                )
                for number, basket in placed.items()
            )
        )
        for fate in fates if self.holds else ():
            self._go_on(data.draw(st.sampled_from(sorted(self.holds))), fate, data)

    def _go_on(self, hold_id: UUID, fate: str, data: st.DataObject) -> None:
        match fate:
            case "extended":
                self._command(ExtendHold(reservation_id=hold_id, ttl_seconds=data.draw(st.integers(1, 3600))))
            case "released":
                self._command(ReleaseHold(reservation_id=hold_id))
            case "leaves":
                self._command(CommitHold(reservation_id=hold_id))
            case "leaves in part":
                self._commit_part(data, hold_id)
            case "ordered":
                order = approved(*data.draw(baskets).items(), order_id=self.drawn_id(), hold_id=hold_id)
                self.happen(envelope(order, at=minutes(data.draw(order_numbers))))
            case _:
                self.shop.clock.advance(timedelta(hours=1))
                self.run(self._expire())

    def _commit_part(self, data: st.DataObject, hold_id: UUID) -> None:
        """Let some of what is held leave, or more than is; then, perhaps, let go of the rest."""
        for line in self.run(self.shop.rows(_HELD, hold_id))[:1]:
            quantity = data.draw(st.integers(1, line["units"] + 1))
            leaves = CommitLine(sku=line["sku"], quantity=quantity, warehouse=line["warehouse"])
            self._command(CommitHold(reservation_id=hold_id, lines=(leaves,)))
            if data.draw(st.booleans()):
                self._command(ReleaseHold(reservation_id=hold_id))

    @rule(
        sets=st.integers(1, 3),
        parts=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        basket=baskets,
        when=times,
        is_returned=st.booleans(),
    )
    def bundles_are_ordered_beside_their_components(
        self,
        sets: int,
        parts: tuple[int, int],
        basket: dict[str, int],
        when: Any,
        is_returned: bool,  # noqa: FBT001
    ) -> None:
        self.run(self._put_bundle(dict(zip((ARMCHAIR, MIRROR), parts, strict=True))))
        order = approved(("SET", sets), *basket.items(), order_id=self.drawn_id())
        self.happen(envelope(order, at=when))
        if is_returned:
            self.happen(envelope(returned(order.order_id, ("SET", 1))))

    @rule(sku=skus, safety_stock=st.integers(0, 4), limit=st.none() | st.integers(0, 9))
    def a_policy_changes(self, sku: str, safety_stock: int, limit: int | None) -> None:
        """Keep other units back; a cart that wants everything gets all the others, and no more."""
        policy = StockPolicy(safety_stock_units=safety_stock, backorder_units_max=limit)
        self.run(self._put_policy(sku, policy))
        promisable = self.run(self.shop.rows(_PROMISABLE, sku, safety_stock))[0]["units"]
        hold_id = self.drawn_id()
        placed = PlaceHold(
            reservation_id=hold_id,
            channel="web",
            wanted={sku: promisable + 1},
            destination=ANYWHERE,
            mode="best-effort",
            is_split_allowed=True,
            ttl_seconds=None,
        )
        self._command(placed)
        assert sum(row["units"] for row in self.run(self.shop.rows(_HELD, hold_id))) == promisable
        if promisable:
            self._command(ReleaseHold(reservation_id=hold_id))

    @rule(sku=skus, limit=st.integers(0, 5), beyond=st.integers(-2, 3), when=times)
    def more_is_ordered_than_may_be_waited_for(self, sku: str, limit: int, beyond: int, when: Any) -> None:
        self.run(self._put_policy(sku, StockPolicy(backorder_units_max=limit)))
        free = self.run(self.shop.rows(_FREE, sku))[0]["units"]
        order = approved((sku, max(1, free + limit + beyond)), order_id=self.drawn_id())
        self.happen(envelope(order, at=when))
        if self.run(self.shop.status(order.order_id)) == "waiting":
            assert self.run(self.shop.rows(_WAITED_FOR, sku))[0]["units"] <= limit

    def _command(self, *commands: HoldCommand) -> None:
        self.run(self._apply(commands))

    async def _apply(self, commands: Any) -> None:
        async with self.database.transaction() as transaction:
            tools = self.shop.adapters.tools_of(transaction)
            _, results = await apply_hold_commands(commands, tools=tools, policies=HoldPolicies())
        self.holds.update(one.reservation_id for one in results if isinstance(one, HoldState))

    async def _expire(self) -> None:
        async with self.database.transaction() as transaction:
            await expire_holds(self.shop.adapters.tools_of(transaction))

    async def _put_bundle(self, components: dict[str, int]) -> None:
        self.composition = components
        async with self.database.transaction() as transaction:
            await put_bundle("SET", components, tools=self.shop.adapters.tools_of(transaction))

    async def _put_policy(self, sku: str, policy: StockPolicy) -> None:
        assert sku in SKUS
        async with self.database.transaction() as transaction:
            await put_stock_policy(sku, policy, tools=self.shop.adapters.tools_of(transaction))
