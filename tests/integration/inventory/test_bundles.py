from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.common.events.inventory import StockBackordered, StockLevelChanged, StockReserved
from libs.common.events.shapes import SkuQuantity
from services.inventory.handlers.availability import Availability
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    approved,
    cancelled,
    dispatched,
    received,
    returned,
)

SET = "READING-CORNER"


@pytest.fixture
async def bundle(client: httpx.AsyncClient, shop: Shop) -> dict[str, Any]:
    """Sell a chair and two lamps as one, of which there are some."""
    await shop.reports(received(3), received(4, LAMP), received(2, LAMP, at="MAN"))
    body = _made_of((ARMCHAIR, 1), (LAMP, 2))
    assert (await client.put(f"/v1/bundles/{SET}", json=body)).status_code == 200
    return body


@pytest.mark.usefixtures("bundle")
class TestOrder:
    async def test_of_a_bundle_holds_its_components(self, shop: Shop) -> None:
        await shop.orders(approved((SET, 2)))

        assert await shop.level(ARMCHAIR) == (3, 2)
        assert await shop.level(LAMP) == (4, 4)
        [reserved] = await shop.announced(StockReserved)
        assert {one.sku for one in reserved.allocations} == {ARMCHAIR, LAMP}

    async def test_of_a_bundle_and_its_component_adds_up(self, shop: Shop) -> None:
        enough, too_many = approved((SET, 2), (ARMCHAIR, 1)), approved((SET, 1), (LAMP, 1))

        await shop.orders(enough)
        await shop.orders(too_many)

        assert await shop.level(ARMCHAIR) == (3, 3)
        assert await shop.status(too_many.order_id) == "waiting"
        [short] = await shop.announced(StockBackordered)
        assert {one.sku for one in short.shortages} == {ARMCHAIR, LAMP}

    async def test_that_holds_nothing_any_more_can_bring_a_bundle_back(self, shop: Shop) -> None:
        order = approved((SET, 1))
        await shop.orders(order)
        await shop.orders(cancelled(order.order_id))

        await shop.orders(returned(order.order_id, (SET, 1)))

        assert await shop.level(ARMCHAIR) == (4, 0)
        assert await shop.level(LAMP) == (6, 0)

    async def test_of_a_bundle_leaves_and_comes_back_as_its_components(self, shop: Shop) -> None:
        order = approved((SET, 2))
        await shop.orders(order)

        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 2), (LAMP, 4)))
        assert await shop.status(order.order_id) == "committed"
        await shop.orders(returned(order.order_id, (SET, 1)))

        assert await shop.level(ARMCHAIR) == (2, 0)
        assert await shop.level(LAMP) == (2, 0)
        assert await shop.drift() == (0, 0)

    async def test_comes_back_as_what_it_was_when_it_was_sold(self, client: httpx.AsyncClient, shop: Shop) -> None:
        order = approved((SET, 1))
        await shop.orders(order)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 1), (LAMP, 2)))

        await client.delete(f"/v1/bundles/{SET}")
        await shop.orders(returned(order.order_id, (SET, 1)))

        assert await shop.level(LAMP) == (4, 0)
        assert await shop.level(SET) == (0, 0)

    async def test_that_waits_is_served_when_the_last_component_comes(self, shop: Shop) -> None:
        order = approved((SET, 4))
        await shop.orders(order)

        await shop.reports(received(2, LAMP, at="GLA"))
        assert await shop.status(order.order_id) == "waiting"
        await shop.reports(received(1, at="GLA"))

        assert await shop.status(order.order_id) == "held"

    async def test_that_is_called_off_frees_the_components(self, shop: Shop) -> None:
        order = approved((SET, 2))
        await shop.orders(order)

        await shop.orders(cancelled(order.order_id))

        assert await shop.level(ARMCHAIR) == (3, 0)

    async def test_of_more_than_can_be_is_set_aside(self, shop: Shop) -> None:
        with pytest.raises(Exception, match="More than"):
            await shop.orders(approved((SET, 10**9)))


@pytest.mark.usefixtures("bundle")
class TestHold:
    async def test_of_a_bundle_is_committed_by_its_name(self, client: httpx.AsyncClient, shop: Shop) -> None:
        hold = uuid4()

        held = await _post(client, {"reservation_id": str(hold), "channel": "web", "lines": [_line(SET, 2)]})
        left = await _post(client, {"lines": [_line(SET, 1)]}, f"/{hold}/commit")
        too_many = await _post(client, {"lines": [_line(SET, 2)]}, f"/{hold}/commit")

        assert (held.status_code, left.status_code, too_many.status_code) == (201, 200, 409)
        assert await shop.level(ARMCHAIR) == (2, 1)
        assert await shop.level(LAMP) == (2, 2)

    async def test_says_which_component_is_short(self, client: httpx.AsyncClient) -> None:
        body = {"reservation_id": str(uuid4()), "channel": "web", "lines": [_line(SET, 4)]}

        refused = await _post(client, body)

        assert refused.status_code == 409
        assert {error["reason"] for error in refused.json()["errors"]} == {
            f"4 units of {ARMCHAIR} are wanted, 3 there.",
            f"8 units of {LAMP} are wanted, 6 there.",
        }

    async def test_is_taken_over_by_an_order_of_the_bundle(self, client: httpx.AsyncClient, shop: Shop) -> None:
        hold = uuid4()
        await _post(client, {"reservation_id": str(hold), "channel": "web", "lines": [_line(SET, 2)]})
        order = approved((SET, 2), hold_id=hold)

        await shop.orders(order)

        assert await shop.status(order.order_id) == "held"
        assert await shop.level(LAMP) == (4, 4)


class TestDefinition:
    async def test_is_shown_and_removed(self, client: httpx.AsyncClient, bundle: dict[str, Any]) -> None:
        shown = await client.get(f"/v1/bundles/{SET}")
        removed = await client.delete(f"/v1/bundles/{SET}")

        assert shown.json() == bundle
        assert removed.status_code == 204
        for answer in (await client.get(f"/v1/bundles/{SET}"), await client.delete(f"/v1/bundles/{SET}")):
            assert (answer.status_code, answer.json()["code"]) == (404, "bundle-not-found")

    @pytest.mark.usefixtures("bundle")
    async def test_is_published_once_for_each_change(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await client.put(f"/v1/bundles/{SET}", json=_made_of((ARMCHAIR, 1), (LAMP, 2)))
        await client.put(f"/v1/bundles/{SET}", json=_made_of((MIRROR, 1)))
        await client.delete(f"/v1/bundles/{SET}")

        events = [one for one in await shop.announced(StockLevelChanged) if one.sku == SET]
        assert [one.components for one in events] == [
            [SkuQuantity(sku=ARMCHAIR, quantity=1), SkuQuantity(sku=LAMP, quantity=2)],
            [SkuQuantity(sku=MIRROR, quantity=1)],
            [],
        ]

    @pytest.mark.usefixtures("bundle")
    async def test_does_not_concern_what_is_reserved(self, client: httpx.AsyncClient, shop: Shop) -> None:
        order = approved((SET, 1))
        await shop.orders(order)

        await client.put(f"/v1/bundles/{SET}", json=_made_of((MIRROR, 1)))

        assert await shop.level(LAMP) == (4, 2)

    @pytest.mark.usefixtures("bundle")
    @pytest.mark.parametrize(
        ("sku", "component", "status", "code"),
        [
            ("OUTER", SET, 422, "nested-bundle"),
            (ARMCHAIR, MIRROR, 422, "nested-bundle"),
            ("ITSELF", "ITSELF", 422, "nested-bundle"),
            ("WAITED-FOR", MIRROR, 409, "sku-is-waited-for"),
            ("STOCKED", MIRROR, 409, "sku-has-stock"),
        ],
    )
    async def test_that_cannot_be_is_refused(  # noqa: PLR0917
        self, client: httpx.AsyncClient, shop: Shop, sku: str, component: str, status: int, code: str
    ) -> None:
        await shop.reports(received(1, "STOCKED"))
        await shop.orders(approved(("WAITED-FOR", 1)))

        answer = await client.put(f"/v1/bundles/{sku}", json=_made_of((component, 1)))

        assert (answer.status_code, answer.json()["code"]) == (status, code)

    @pytest.mark.parametrize(
        "components",
        [
            [],
            [{"sku": ARMCHAIR, "quantity": 0}],
            [{"sku": ARMCHAIR, "quantity": 10**20}],
            [{"sku": ARMCHAIR, "quantity": 1.5}],
            [{"sku": "", "quantity": 1}],
            [{"sku": "A\x00", "quantity": 1}],
            [{"sku": ARMCHAIR, "quantity": 1}] * 2,
            [{"sku": f"S{number}", "quantity": 1} for number in range(101)],
        ],
    )
    async def test_that_makes_no_sense_is_refused(self, client: httpx.AsyncClient, components: list[Any]) -> None:
        answer = await client.put(f"/v1/bundles/{SET}", json={"components": components})

        assert answer.status_code == 422


class TestAvailability:
    async def test_of_a_bundle_follows_its_components(self, client: httpx.AsyncClient, shop: Shop) -> None:
        copy = Availability()
        await shop.reports(received(3), received(4, LAMP), received(2, LAMP, at="MAN"), received(1, at="MAN"))
        await client.put(f"/v1/bundles/{SET}", json=_made_of((ARMCHAIR, 1), (LAMP, 2)))
        seen = await _follow(shop, copy, 0)
        assert copy.encoded(SET).startswith(
            b'{"sku":"READING-CORNER","available":3,"warehouses":'
            b'[{"warehouse":"LON","available":2},{"warehouse":"MAN","available":1}]'
        )

        await shop.orders(approved((ARMCHAIR, 3)))
        seen = await _follow(shop, copy, seen)
        assert b'"available":1,' in copy.encoded(SET)
        await client.delete(f"/v1/bundles/{SET}")
        await _follow(shop, copy, seen)

        assert copy.encoded(SET).startswith(b'{"sku":"READING-CORNER","available":0,"warehouses":[]')


async def _follow(shop: Shop, copy: Availability, seen: int) -> int:
    events = await shop.published()
    for one in events[seen:]:
        copy.apply(one)
    return len(events)


def _made_of(*components: tuple[str, int]) -> dict[str, Any]:
    return {"components": [_line(sku, quantity) for sku, quantity in components]}


def _line(sku: str, quantity: int) -> dict[str, Any]:
    return {"sku": sku, "quantity": quantity}


async def _post(client: httpx.AsyncClient, body: Any, path: str = "") -> httpx.Response:
    return await client.post(f"/v1/reservations{path}", json=body, headers={"Idempotency-Key": str(uuid4())})
