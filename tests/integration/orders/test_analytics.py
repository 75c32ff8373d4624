"""Figures of the order process: they equal what the orders say, in every currency by itself."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from services.orders.domain.delays import Stage
from services.orders.settings import OrdersSettings
from tests.integration.orders.observer import Observer
from tests.integration.orders.shop import NOW, TOTAL_MINOR, Shop, key

PERIOD = {"since": "2026-03-01", "until": "2026-03-31"}


@pytest.fixture
async def observer(shop: Shop) -> Observer:
    return Observer(shop, OrdersSettings(database_url=SecretStr(shop.database.url)))


async def report(shop: Shop, name: str, **parameters: str) -> list[dict[str, Any]]:
    response = await shop.get(f"/reports/{name}", **{**PERIOD, **parameters})
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


class TestFunnelAndRevenue:
    async def test_count_each_order_as_far_as_it_came(self, shop: Shop, observer: Observer) -> None:
        settled = await shop.place()
        await shop.settle(settled)
        confirmed = await shop.place(channel="market")
        await shop.confirm(confirmed)
        cancelled = await shop.place(currency="EUR")
        await shop.post(f"/orders/{cancelled}/cancellation", {"reason": "changed my mind"})
        await observer.follow()
        await observer.summarise()

        [everything] = await report(shop, "funnel")
        assert {name: everything[name] for name in ("orders", "confirmed", "shipped", "settled", "cancelled")} == {
            "orders": 3,
            "confirmed": 2,
            "shipped": 1,
            "settled": 1,
            "cancelled": 1,
        }
        by_channel = {one["value"]: one["orders"] for one in await report(shop, "funnel", by="channel")}
        assert by_channel == {"market": 1, "web": 2}

    async def test_never_add_across_currencies(self, shop: Shop, observer: Observer) -> None:
        for currency in ("GBP", "EUR", "GBP"):
            await shop.settle(await shop.place(currency=currency))
        await observer.follow()
        await observer.summarise()

        by_currency = {one["currency"]: one for one in await report(shop, "revenue")}

        assert by_currency["GBP"]["revenue_minor"] == 2 * TOTAL_MINOR
        assert by_currency["EUR"]["revenue_minor"] == TOTAL_MINOR
        assert by_currency["GBP"]["average_order_minor"] == TOTAL_MINOR

    async def test_follow_refunds_of_returns(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place()
        await shop.settle(order_id)
        opened = await shop.post(
            f"/orders/{order_id}/returns",
            {"reason": "too large", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1}]},
        )
        await shop.post(
            f"/returns/{opened.json()['id']}/receipt",
            {"warehouse": "leeds", "lines": [{"sku": "OMINOUS-MIRROR", "quantity": 1, "restock_quantity": 1}]},
        )
        await shop.pay()
        await observer.follow()
        await observer.summarise()

        [money] = await report(shop, "revenue")
        assert (money["captured_minor"], money["refunded_minor"]) == (TOTAL_MINOR, 500)
        assert money["revenue_minor"] == TOTAL_MINOR - 500
        [reason] = await report(shop, "reasons", outcome="returned")
        assert reason == {"reason": "too large", "currency": "GBP", "orders": 1, "amount_minor": 500}
        [funnel] = await report(shop, "funnel")
        assert (funnel["returned"], funnel["returned_ratio"]) == (1, 1.0)

    async def test_stay_the_same_however_often_events_come(self, shop: Shop, observer: Observer) -> None:
        await shop.settle(await shop.place())
        for _ in range(3):
            await observer.follow()
            await observer.summarise()

        [money] = await report(shop, "revenue")
        assert (money["orders"], money["revenue_minor"]) == (1, TOTAL_MINOR)

    async def test_only_count_the_days_that_are_asked_for(self, shop: Shop, observer: Observer) -> None:
        for placed_at in ("2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z"):
            await shop.confirm(await shop.place(placed_at=placed_at))
        await observer.follow()
        await observer.summarise()

        for by, value in (("day", "2026-02-01"), ("week", "2026-W05"), ("month", "2026-02")):
            [one] = await report(shop, "funnel", by=by, since="2026-02-01", until="2026-02-28")
            assert (one["value"], one["orders"]) == (value, 1)


class TestReasons:
    async def test_are_the_most_frequent_first_and_safe_to_open(self, shop: Shop, observer: Observer) -> None:
        for reason in ("=HYPERLINK(1)", "too late", "too late"):
            order_id = await shop.place()
            await shop.post(f"/orders/{order_id}/cancellation", {"reason": reason})
        await observer.follow()
        await observer.summarise()

        reasons = await report(shop, "reasons")
        table = await shop.get("/reports/reasons", **PERIOD, format="csv")

        assert [(one["reason"], one["orders"]) for one in reasons] == [("too late", 2), ("=HYPERLINK(1)", 1)]
        rows = list(csv.reader(io.StringIO(table.text)))
        assert rows[0] == ["reason", "currency", "orders", "amount_minor"]
        assert rows[2][0] == "'=HYPERLINK(1)"


class TestCycleTimes:
    async def test_are_those_of_the_timeline(self, shop: Shop, observer: Observer) -> None:
        for hours in (1, 10):
            order_id = await shop.place()
            shop.clock.advance(timedelta(hours=hours))
            await shop.confirm(order_id)
        await observer.follow()
        await observer.summarise()

        stages = {one["stage"]: one for one in await report(shop, "cycle-times")}

        assert stages["stock"]["orders"] == 2
        assert stages["stock"]["mean_seconds"] == 5.5 * 3600
        assert stages["stock"]["p95_seconds"] == pytest.approx(10 * 3600, rel=0.13)
        assert "pick" not in stages
        by_warehouse = await report(shop, "cycle-times", by="warehouse")
        assert {one["value"] for one in by_warehouse} == {"leeds"}

    async def test_tell_milliseconds_from_seconds(self, shop: Shop, observer: Observer) -> None:
        took = (0.0, 0.04, 0.05, 0.06, 3.0, 20.0, 200.0)
        for seconds in took:
            order_id = await shop.place()
            shop.clock.advance(timedelta(seconds=seconds))
            await shop.confirm(order_id)
        await observer.follow()
        await observer.summarise()
        await observer.learn()

        [stock] = [one for one in await report(shop, "cycle-times") if one["stage"] == "stock"]

        assert stock["p50_seconds"] == pytest.approx(0.06, rel=0.13)
        assert stock["p95_seconds"] == pytest.approx(200.0, rel=0.13)
        # Promises are learned from all of them, in buckets of a minute and more.
        assert observer.holder.model.orders_seen(Stage.STOCK) == len(took)


class TestCohorts:
    async def test_follow_customers_from_their_first_order(self, shop: Shop, observer: Observer) -> None:
        for customer, month in (("ann", 1), ("ann", 3), ("bob", 1), ("cid", 2)):
            placed_at = datetime(2026, month, 5, tzinfo=UTC).isoformat()
            placed_at = min(placed_at, NOW.isoformat())
            await shop.confirm(await shop.place(customer_id=customer, placed_at=placed_at))
        await observer.follow()
        await observer.summarise()

        cohorts = await report(shop, "cohorts", since="2026-01-15", until="2026-03-31")

        assert [(one["cohort"], one["age_months"], one["customers"], one["retained_ratio"]) for one in cohorts] == [
            ("2026-01-01", 0, 2, 1.0),
            ("2026-01-01", 2, 1, 0.5),
            ("2026-02-01", 0, 1, 1.0),
        ]

    async def test_move_when_an_earlier_order_is_imported(self, shop: Shop, observer: Observer) -> None:
        await shop.confirm(await shop.place())
        await observer.follow()
        await observer.summarise()
        await shop.confirm(await shop.place(placed_at="2025-12-24T12:00:00Z"))
        await observer.follow()
        await observer.summarise()

        cohorts = await report(shop, "cohorts", since="2025-12-01", until="2026-03-31")

        assert [(one["cohort"], one["month"]) for one in cohorts] == [
            ("2025-12-01", "2025-12-01"),
            ("2025-12-01", "2026-03-01"),
        ]


class TestRoutes:
    @pytest.mark.parametrize("name", ["funnel", "revenue", "reasons", "cycle-times", "cohorts"])
    async def test_are_for_who_may_read_reports_and_answer_when_there_is_nothing(self, shop: Shop, name: str) -> None:
        denied = await shop.client.get(f"/v1/reports/{name}", headers=key("storefront"))
        empty = await shop.get(f"/reports/{name}")
        table = await shop.client.get(f"/v1/reports/{name}", headers={"Accept": "text/csv"})

        assert denied.status_code == 403
        assert empty.json()["items"] == []
        assert table.headers["content-type"].startswith("text/csv")
        assert len(table.text.splitlines()) == 1

    async def test_refuse_what_makes_no_sense(self, shop: Shop) -> None:
        for path, parameters in (
            ("funnel", {"by": "customer"}),
            ("revenue", {"since": "2026-13-01"}),
            ("reasons", {"outcome": "lost"}),
            ("reasons", {"limit": "100000"}),
            ("cycle-times", {"until": "-1"}),
            ("cohorts", {"format": "xml"}),
        ):
            assert (await shop.get(f"/reports/{path}", **parameters)).status_code == 422, (path, parameters)
