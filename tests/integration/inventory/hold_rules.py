"""Carts hold units, and orders take them over; safety stock changes under them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from services.inventory.domain.holds import ANYWHERE, HoldPolicies, Mode
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.bundles import put_bundle
from services.inventory.handlers.holds import (
    CommitHold,
    CommitLine,
    ExtendHold,
    HoldCommand,
    PlaceHold,
    ReleaseHold,
    apply_hold_commands,
    expire_holds,
)
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.interleaving import SKUS, Frame, baskets, order_numbers, skus, units
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, approved, envelope, minutes, returned

# Some of their ids are those of orders.
hold_numbers = st.integers(6, 12)


class HoldRules(Frame):
    """Holds begin, are extended, committed, released, taken over by orders, and expire."""

    @rule(
        placed=st.dictionaries(hold_numbers, baskets, min_size=1, max_size=3),
        mode=st.sampled_from(("all-or-nothing", "best-effort")),
        is_split_allowed=st.booleans(),
        ttl_seconds=st.integers(1, 3600),
    )
    def carts_hold_units(
        self,
        placed: dict[int, dict[str, int]],
        mode: Mode,
        is_split_allowed: bool,  # noqa: FBT001
        ttl_seconds: int,
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

    @rule(number=hold_numbers, ttl_seconds=st.integers(1, 3600))
    def a_hold_is_extended(self, number: int, ttl_seconds: int) -> None:
        self._command(ExtendHold(reservation_id=UUID(int=number), ttl_seconds=ttl_seconds))

    @rule(number=hold_numbers)
    def a_hold_is_released(self, number: int) -> None:
        self._command(ReleaseHold(reservation_id=UUID(int=number)))

    @rule(number=hold_numbers, sku=skus, quantity=units, is_whole=st.booleans())
    def units_of_a_hold_leave(self, number: int, sku: str, quantity: int, is_whole: bool) -> None:  # noqa: FBT001
        lines = None if is_whole else (CommitLine(sku=sku, quantity=quantity),)
        self._command(CommitHold(reservation_id=UUID(int=number), lines=lines))

    @rule(number=order_numbers, hold=hold_numbers, basket=baskets, on_shortage=st.sampled_from(("backorder", "refuse")))
    def an_order_takes_a_hold_over(self, number: int, hold: int, basket: dict[str, int], on_shortage: str) -> None:
        order = approved(*basket.items(), order_id=UUID(int=number), hold_id=UUID(int=hold), on_shortage=on_shortage)
        self.happen(envelope(order, at=minutes(number)))

    @rule(number=order_numbers, chairs=st.integers(1, 2), mirrors=st.integers(1, 2), basket=baskets)
    def a_bundle_is_ordered_beside_its_components(
        self, number: int, chairs: int, mirrors: int, basket: dict[str, int]
    ) -> None:
        self.run(self._put_bundle({ARMCHAIR: chairs, MIRROR: mirrors}))
        self.happen(envelope(approved(("SET", 1), *basket.items(), order_id=UUID(int=number)), at=minutes(number)))

    @rule(number=order_numbers)
    def a_bundle_comes_back(self, number: int) -> None:
        self.run(self._put_bundle({ARMCHAIR: 1, MIRROR: 1}))
        self.happen(envelope(returned(UUID(int=number), ("SET", 1))))

    @rule(seconds=st.integers(1, 1800))
    def time_passes(self, seconds: int) -> None:
        self.shop.clock.advance(timedelta(seconds=seconds))
        self.run(self._expire())

    @rule(sku=skus, safety_stock=st.integers(0, 4), limit=st.none() | st.integers(0, 9))
    def a_policy_changes(self, sku: str, safety_stock: int, limit: int | None) -> None:
        policy = StockPolicy(safety_stock_units=safety_stock, backorder_units_max=limit)
        self.run(self._put_policy(sku, policy))

    @invariant()
    def no_hold_outlives_its_time_or_waits(self) -> None:
        statement = """
            SELECT 1 FROM reservations
            WHERE expires_at IS NOT NULL
                AND (status IN ('waiting', 'partly-held') OR status = 'held' AND expires_at <= $1)
        """
        assert self.run(self.shop.rows(statement, self.shop.clock.now())) == []

    def _command(self, *commands: HoldCommand) -> None:
        self.run(self._apply(commands))

    async def _apply(self, commands: Any) -> None:
        async with self.database.transaction() as transaction:
            tools = self.shop.adapters.tools_of(transaction)
            await apply_hold_commands(commands, tools=tools, policies=HoldPolicies())

    async def _expire(self) -> None:
        async with self.database.transaction() as transaction:
            await expire_holds(self.shop.adapters.tools_of(transaction))

    async def _put_bundle(self, components: dict[str, int]) -> None:
        async with self.database.transaction() as transaction:
            await put_bundle("SET", components, tools=self.shop.adapters.tools_of(transaction))

    async def _put_policy(self, sku: str, policy: StockPolicy) -> None:
        assert sku in SKUS
        async with self.database.transaction() as transaction:
            await put_stock_policy(sku, policy, tools=self.shop.adapters.tools_of(transaction))
