from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations
from uuid import UUID, uuid4

import pytest

from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import (
    GoodsReceived,
    StockLevelChanged,
    TransferDispatched,
    TransferReceived,
)
from services.inventory.domain.arrivals import SHOWN_MAX
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, NOON, approved, envelope, expected, minutes, received

TOMORROW = NOON + timedelta(days=1)
LATER = NOON + timedelta(days=2)
TRANSFER = UUID(int=7)


def received_under(reference: str, quantity: int, *, when: datetime = NOON) -> GoodsReceived:
    return GoodsReceived(sku=ARMCHAIR, warehouse="LON", occurred_at=when, quantity=quantity, reference=reference)


def sent(quantity: int, *, arrives: datetime | None, when: datetime = NOON) -> TransferDispatched:
    return TransferDispatched(
        sku=ARMCHAIR,
        warehouse="GLA",
        occurred_at=when,
        transfer_id=TRANSFER,
        destination="LON",
        quantity=quantity,
        expected_at=arrives,
    )


def came(quantity: int) -> TransferReceived:
    return TransferReceived(sku=ARMCHAIR, warehouse="LON", occurred_at=NOON, transfer_id=TRANSFER, quantity=quantity)


@dataclass
class Told:
    """What a storefront was told last of the arrivals of the armchair."""

    shop: Shop

    async def last(self) -> list[tuple[str, datetime, int, str]]:
        event = (await self.shop.announced(StockLevelChanged))[-1]
        return [(one.warehouse, one.at, one.units, one.kind) for one in event.expected]


@pytest.fixture
def told(shop: Shop) -> Told:
    return Told(shop)


class TestGoodsExpected:
    async def test_are_told_until_they_have_come(self, shop: Shop, told: Told) -> None:
        await shop.reports(expected(10, arrives=TOMORROW))
        assert await told.last() == [("LON", TOMORROW, 10, "purchase")]

        await shop.reports(received_under("PO-1", 4))
        assert await told.last() == [("LON", TOMORROW, 6, "purchase")]

        await shop.reports(received_under("PO-1", 7))
        assert await told.last() == []

    async def test_are_told_with_every_change_of_the_level(self, shop: Shop, told: Told) -> None:
        await shop.reports(expected(10, arrives=TOMORROW), received(1))

        await shop.orders(approved((ARMCHAIR, 1)))

        assert await told.last() == [("LON", TOMORROW, 10, "purchase")]

    async def test_can_be_put_off_and_called_off(self, shop: Shop, told: Told) -> None:
        await shop.reports(expected(10, arrives=TOMORROW), expected(9, arrives=LATER, when=minutes(1)))
        assert await told.last() == [("LON", LATER, 9, "purchase")]

        await shop.reports(expected(0, arrives=LATER, when=minutes(2)))

        assert await told.last() == []

    async def test_are_not_used_up_by_other_goods(self, shop: Shop, told: Told) -> None:
        await shop.reports(expected(10, arrives=TOMORROW), received(3), received_under("PO-2", 3))

        assert await told.last() == [("LON", TOMORROW, 10, "purchase")]

    async def test_come_to_the_same_in_any_order_and_however_often(self, shop: Shop) -> None:
        events: list[Event] = [
            expected(10, arrives=TOMORROW),
            expected(8, arrives=LATER, when=minutes(1)),
            received_under("PO-1", 3),
            received_under("PO-1", 2),
        ]
        for number, order in enumerate(permutations(events)):
            reference = f"PO-{number}"
            batch = [envelope(_under(reference, event), event_id=uuid4()) for event in order]
            # Half of them one by one, so that what came before lies in the database.
            if number % 2:
                await shop.reports(*batch)
            else:
                for one in batch:
                    await shop.reports(one)
            await shop.reports(*_again(batch))

            rows = await shop.rows(
                "SELECT units, received, expected_at FROM expected_arrivals WHERE reference = $1", reference
            )
            assert [(row["units"] - row["received"], row["expected_at"]) for row in rows] == [(3, LATER)]

    async def test_whose_time_has_passed_or_that_are_many_are_not_told(self, shop: Shop, told: Told) -> None:
        await shop.reports(
            expected(1, arrives=NOON - timedelta(hours=1), reference="LATE"),
            *(expected(1, arrives=TOMORROW, reference=f"PO-{number}") for number in range(SHOWN_MAX + 5)),
        )

        assert len(await told.last()) == SHOWN_MAX
        assert (await told.last())[0][1] == TOMORROW

    async def test_cost_no_lookup_where_there_are_none(self, shop: Shop) -> None:
        await shop.reports(received(3))

        [row] = await shop.rows("SELECT has_arrivals FROM stock_items WHERE sku = $1", ARMCHAIR)
        assert not row["has_arrivals"]


class TestTransfers:
    async def test_are_expected_when_they_say_so(self, shop: Shop, told: Told) -> None:
        await shop.reports(received(10, at="GLA"), sent(6, arrives=TOMORROW))
        assert await told.last() == [("LON", TOMORROW, 6, "transfer")]

        await shop.reports(came(4))
        assert await told.last() == [("LON", TOMORROW, 2, "transfer")]

        await shop.reports(came(2))
        assert await told.last() == []

    async def test_that_arrive_before_they_left_are_not_expected(self, shop: Shop, told: Told) -> None:
        await shop.reports(received(10, at="GLA"), came(4))

        await shop.reports(sent(6, arrives=TOMORROW))

        assert await told.last() == [("LON", TOMORROW, 2, "transfer")]

    async def test_that_do_not_say_so_are_not_expected(self, shop: Shop, told: Told) -> None:
        await shop.reports(received(10, at="GLA"), sent(6, arrives=None))

        assert await told.last() == []


def _under(reference: str, event: Event) -> Event:
    return type(event)(**{name: getattr(event, name) for name in event.__struct_fields__} | {"reference": reference})


def _again(batch: list[Envelope]) -> list[Envelope]:
    return [batch[-1], batch[0]]
