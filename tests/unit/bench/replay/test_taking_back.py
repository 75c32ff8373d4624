"""How a cancellation reaches the shop at each stage of its order."""

from datetime import UTC, datetime

import pytest

from bench.replay.api import Refused
from bench.replay.matching import GoodsBack
from bench.replay.shop import OrderState
from bench.replay.taking_back import Outcome, TakingBack


class ShopOfOneOrder:
    """An order that moves to its next status each time somebody looks."""

    def __init__(self, *statuses: str, when_cancelled: str | None = None) -> None:
        self._statuses = list(statuses)
        self._when_cancelled = when_cancelled
        self.returned: list[GoodsBack] = []

    async def order(self, order_id: str) -> OrderState:
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return OrderState(order_id, status, ("LON",))

    async def cancel_order(self, order_id: str, goods_back: GoodsBack) -> OrderState:
        assert goods_back.is_whole
        if self._when_cancelled is None:
            stage = "refused" if self._statuses == ["refused"] else "shipped"
            raise Refused(request="POST", status=409, code=f"order-already-{stage}", detail="")
        return OrderState(order_id, self._when_cancelled, ())

    async def return_goods(self, order: OrderState, goods_back: GoodsBack) -> None:
        assert order.status in {"shipped", "delivered", "settled"}
        self.returned.append(goods_back)


def goods_back(*, is_whole: bool) -> GoodsBack:
    return GoodsBack(
        cancellation="C550002",
        sale="550001",
        at=datetime(2011, 5, 4, tzinfo=UTC),
        quantities={"OMINOUS-MIRROR": 2},
        is_whole=is_whole,
    )


async def no_sleep(_seconds: float) -> None:
    """Let the next look come at once."""


class TestTakeBack:
    @pytest.mark.parametrize(
        ("shop", "is_whole", "outcome"),
        [
            pytest.param(
                ShopOfOneOrder("confirmed", when_cancelled="cancelled"), True, Outcome.CANCELLED, id="whole, in time"
            ),
            pytest.param(ShopOfOneOrder("shipped"), True, Outcome.RETURNED, id="whole, just shipped"),
            pytest.param(ShopOfOneOrder("settled"), True, Outcome.RETURNED, id="whole, too late"),
            pytest.param(
                ShopOfOneOrder("confirmed", "cancelling", "cancelled", when_cancelled="cancelling"),
                True,
                Outcome.CANCELLED,
                id="whole, logistics had to agree",
            ),
            pytest.param(
                ShopOfOneOrder("confirmed", "cancelling", "shipped", when_cancelled="cancelling"),
                True,
                Outcome.RETURNED,
                id="whole, logistics did not agree",
            ),
            pytest.param(
                ShopOfOneOrder("backordered", "confirmed", "shipped"),
                False,
                Outcome.RETURNED,
                id="part waits for parcel",
            ),
            pytest.param(ShopOfOneOrder("delivered"), False, Outcome.RETURNED, id="part of a delivered order"),
            pytest.param(ShopOfOneOrder("refused"), False, Outcome.MOOT, id="part of a refused order"),
            pytest.param(ShopOfOneOrder("refused"), True, Outcome.MOOT, id="whole of a refused order"),
            pytest.param(ShopOfOneOrder("approved", "cancelled"), False, Outcome.MOOT, id="part, cancelled by others"),
        ],
    )
    async def test_does_what_the_stage_allows(self, shop: ShopOfOneOrder, is_whole: bool, outcome: Outcome) -> None:  # noqa: FBT001 - a parameter of the table above
        taking_back = TakingBack(shop, sleep=no_sleep)

        assert await taking_back.take_back("1", goods_back(is_whole=is_whole)) is outcome
        assert taking_back.outcomes == {outcome: 1}
        assert len(shop.returned) == (outcome is Outcome.RETURNED)

    async def test_stops_waiting_for_stock_when_no_more_will_come(self) -> None:
        taking_back = TakingBack(ShopOfOneOrder("backordered"), sleep=no_sleep)
        taking_back.close()

        assert await taking_back.take_back("1", goods_back(is_whole=False)) is Outcome.WAITING

    async def test_goes_on_waiting_for_parcels_when_no_more_stock_will_come(self) -> None:
        taking_back = TakingBack(ShopOfOneOrder("confirmed", "confirmed", "shipped"), sleep=no_sleep)
        taking_back.close()

        assert await taking_back.take_back("1", goods_back(is_whole=False)) is Outcome.RETURNED

    async def test_shows_any_other_refusal(self) -> None:
        class Forbidding(ShopOfOneOrder):
            async def cancel_order(self, order_id: str, goods_back: GoodsBack) -> OrderState:
                del order_id, goods_back
                raise Refused(request="POST", status=403, code="scope-missing", detail="")

        with pytest.raises(Refused):
            await TakingBack(Forbidding("confirmed"), sleep=no_sleep).take_back("1", goods_back(is_whole=True))
