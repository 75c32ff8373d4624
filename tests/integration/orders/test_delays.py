"""Orders followed from confirmation to the door: promised, re-scored, explained, summed up."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from libs.common.events.catalog import ProductChanged, ProductListed
from libs.common.events.logistics import ShipmentPlanned, ShipmentScanned
from libs.common.events.orders import OrderLateRiskChanged
from libs.common.events.topics import LOGISTICS_SHIPMENT
from libs.common.ids import new_id
from services.orders.bootstrap import SERVICE
from services.orders.bootstrap.build import build
from services.orders.domain.delays import CAUSES, Stage
from services.orders.domain.durations import BUCKET_SQL, FINEST, bucket_of
from services.orders.settings import OrdersSettings
from tests.integration.orders.observer import Observer
from tests.integration.orders.shop import NOW, Shop, key, shipment_id
from tests.integration.orders.test_prices import follow, product, told
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus, envelope_of
from tests.support.postgres import FreshDatabase

HOUR = timedelta(hours=1)


@pytest.fixture
async def observer(shop: Shop) -> Observer:
    return Observer(shop, OrdersSettings(database_url=SecretStr(shop.database.url)))


async def deliver(observer: Observer, *, picked_after: timedelta, on_the_way: timedelta) -> UUID:
    """Carry an order to the door and follow it."""
    shop = observer.shop
    order_id = await shop.place()
    await shop.confirm(order_id)
    await shop.plan(order_id)
    await observer.follow()
    start = shop.clock.now()
    await shop.dispatch(order_id, at=start + picked_after)
    await shop.pay()
    await shop.arrive(order_id, at=start + picked_after + on_the_way)
    await observer.follow()
    return order_id


def seconds_of(delay: dict[str, Any], field: str) -> dict[str, float]:
    return {stage["stage"]: stage[field] for stage in delay["stages"] if field in stage}


class TestPromise:
    async def test_is_made_at_confirmation_and_explained(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)

        await observer.follow()

        delay = await observer.delay(order_id)
        assert delay["delay_status"] == "open"
        assert NOW < datetime.fromisoformat(delay["ship_by"]) < datetime.fromisoformat(delay["promised_by"])
        assert 0 < delay["probability_late"] < 0.2
        decisions = (await shop.get("/decisions", subject=f"order:{order_id}")).json()["items"]
        [made] = [one for one in decisions if one["decision"] == "promise-delivery"]
        assert datetime.fromisoformat(made["chosen"]) == datetime.fromisoformat(delay["promised_by"])
        assert made["inputs"]["warehouses"] == ["leeds", "lyon"]
        assert len(made["alternatives"]) == 3

    async def test_stays_what_it_was_however_often_events_come(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await observer.follow()
        first = await observer.delay(order_id)
        shop.clock.advance(timedelta(days=1))

        for _ in range(3):
            await observer.follow()

        assert (await observer.delay(order_id))["promised_by"] == first["promised_by"]
        made = "SELECT count(*) FROM decisions WHERE decision = 'promise-delivery'"
        assert await shop.count(made) == 1

    async def test_is_learned_from_what_was_delivered(self, shop: Shop, observer: Observer) -> None:
        before = await self._promised_days(shop, observer)
        for _ in range(3):
            await deliver(observer, picked_after=timedelta(days=9), on_the_way=timedelta(days=20))
        await shop.fetch("UPDATE stage_summaries SET orders = orders * 100 RETURNING day")
        await observer.summarise()
        await shop.fetch("UPDATE stage_summaries SET orders = orders * 100 RETURNING day")
        await observer.learn()

        assert await self._promised_days(shop, observer) > before + 15

    async def _promised_days(self, shop: Shop, observer: Observer) -> float:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await observer.follow()
        promised_by = datetime.fromisoformat((await observer.delay(order_id))["promised_by"])
        return (promised_by - shop.clock.now()) / timedelta(days=1)

    async def test_of_an_imported_order_lies_in_its_own_time(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place(placed_at="2011-06-01T10:00:00Z")
        await shop.confirm(order_id)

        await observer.follow()

        delay = await observer.delay(order_id)
        assert delay["promised_by"].startswith("2011-06")
        assert delay["delay_status"] == "open"


class TestRisk:
    async def test_grows_by_time_alone_and_is_told_when_it_matters(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await observer.follow()
        at_first = await observer.delay(order_id)
        assert (await shop.get("/delays/queue")).json()["items"] == []

        shop.clock.advance(timedelta(days=5))
        assert await observer.rescore() == 1
        assert await observer.rescore() == 0

        later = await observer.delay(order_id)
        assert later["probability_late"] > at_first["probability_late"] + 0.15
        assert later["delay_status"] == "at-risk"
        told = [one.event for one in await shop.published() if isinstance(one.event, OrderLateRiskChanged)]
        assert [round(one.probability, 3) for one in told] == [round(later["probability_late"], 3)]
        [queued] = (await shop.get("/delays/queue")).json()["items"]
        assert (queued["order_id"], queued["delay_status"]) == (str(order_id), "at-risk")

    async def test_an_open_order_past_its_promise_is_late_for_a_reason(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await observer.follow()
        shop.clock.advance(timedelta(days=20))
        await observer.rescore()

        delay = await observer.delay(order_id)

        assert (delay["delay_status"], delay["probability_late"]) == ("late", 1.0)
        shares = seconds_of(delay, "share_seconds")
        assert set(shares) == {"pick"}
        assert shares["pick"] == pytest.approx(delay["lateness_seconds"])
        assert (await shop.get("/delays/queue")).json()["items"][0]["delay_status"] == "late"

    async def test_ends_with_the_order(self, shop: Shop, observer: Observer) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await observer.follow()
        shop.clock.advance(timedelta(days=20))
        await observer.rescore()
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed my mind"})
        shop.clock.advance(timedelta(hours=1))
        await shop.plan(order_id)
        await shop.arrive(order_id, at=shop.clock.now())
        await observer.follow()
        await observer.rescore()

        assert (await shop.get("/delays/queue")).json()["items"] == []

    async def test_the_queue_is_in_the_order_of_departure(self, shop: Shop, observer: Observer) -> None:
        placed = []
        for days in (33, 34, 35):
            placed.append(await shop.place(placed_at=(NOW - timedelta(days=days)).isoformat()))
            await shop.confirm(placed[-1])
        await observer.follow()
        shop.clock.advance(timedelta(days=20))
        await observer.rescore()

        first = (await shop.get("/delays/queue", limit=2)).json()
        second = (await shop.get("/delays/queue", limit=2, cursor=first["next_cursor"])).json()

        queued = [*first["items"], *second["items"]]
        assert [one["order_id"] for one in queued] == [str(order_id) for order_id in reversed(placed)]
        assert (await shop.get("/delays/queue", warehouse="nowhere")).json()["items"] == []


class TestAttribution:
    async def test_names_the_stages_that_made_an_order_late(self, observer: Observer) -> None:
        order_id = await deliver(observer, picked_after=timedelta(days=15), on_the_way=timedelta(days=2))

        delay = await observer.delay(order_id)

        assert delay["delay_status"] == "delivered-late"
        shares = seconds_of(delay, "share_seconds")
        assert shares["pick"] == pytest.approx(delay["lateness_seconds"], rel=0.05)
        assert sum(shares.values()) + delay.get("promise_share_seconds", 0) == pytest.approx(delay["lateness_seconds"])
        assert seconds_of(delay, "seconds")["pick"] == timedelta(days=15).total_seconds()

    async def test_tells_the_last_mile_by_the_scans(self, shop: Shop, observer: Observer) -> None:
        order_id = await deliver(observer, picked_after=HOUR, on_the_way=timedelta(days=15))
        start = shop.clock.now()
        parcels = [shipment_id(order_id, place) for place in ("leeds", "lyon")]
        scans = [
            ShipmentScanned(shipment_id=parcel, order_id=order_id, scanned_at=start + HOUR * hours, place="hub")
            for parcel in parcels
            for hours in (3, 2, 49)
        ]

        await observer.follow([envelope_of(scan) for scan in scans])

        spent = seconds_of(await observer.delay(order_id), "seconds")
        assert {name: spent[name] / 3600 for name in ("hand-over", "carrier", "last-mile")} == {
            "hand-over": 1,
            "carrier": 47,
            "last-mile": 15 * 24 + 1 - 49,
        }

    async def test_knows_the_carrier_however_late_it_hears_of_it(self, observer: Observer) -> None:
        order_id = await deliver(observer, picked_after=HOUR, on_the_way=HOUR)
        planned = [
            ShipmentPlanned(
                shipment_id=shipment_id(order_id, place),
                order_id=order_id,
                warehouse=place,
                lines=[],
                carrier="gull",
                carrier_service="standard",
                cost_minor=1,
                currency="GBP",
                estimated_delivery_at=NOW,
                decision_id=new_id(),
            )
            for place in ("leeds", "lyon")
        ]

        await observer.follow([envelope_of(one) for one in planned])

        assert (await observer.delay(order_id))["carrier"] == "gull"

    async def test_adds_up_by_warehouse_and_week_as_json_and_csv(self, shop: Shop, observer: Observer) -> None:
        late = [
            await deliver(observer, picked_after=timedelta(days=15), on_the_way=timedelta(days=2)) for _ in range(2)
        ]
        await deliver(observer, picked_after=HOUR, on_the_way=timedelta(days=1))
        await observer.summarise()
        each = [(await observer.delay(order_id))["lateness_seconds"] for order_id in late]

        for by in ("warehouse", "carrier", "country", "channel", "week", "day"):
            [group] = (await shop.get("/reports/delays", by=by)).json()["items"]
            assert (group["delivered"], group["late"]) == (3, 2)
            assert group["lateness_seconds"] == pytest.approx(sum(each))
            assert sum(group["shares_seconds"].values()) == pytest.approx(group["lateness_seconds"])
        table = await shop.get("/reports/delays", by="week", format="csv")
        header, row = table.text.splitlines()
        assert header == ",".join(
            ["week", "delivered", "late", "late_ratio", "lateness_seconds", *(f"{cause}_seconds" for cause in CAUSES)]
        )
        assert row.startswith("2026-W10,3,2,0.66")

    async def test_adds_up_by_the_categories_of_the_goods(self, shop: Shop, observer: Observer) -> None:
        chairs = {"sku": "CRUNCHY-ARMCHAIR", "category": "chairs"}
        moved = told(product(ProductChanged, 1_000, **chairs), version=2, at=NOW)
        known = told(product(ProductListed, 1_000, **{**chairs, "category": "sofas"}), version=1, at=NOW)
        await follow(shop, moved)
        await follow(shop, known)
        late = await deliver(observer, picked_after=timedelta(days=15), on_the_way=timedelta(days=2))
        await observer.summarise()

        report = (await shop.get("/reports/delays", by="category")).json()["items"]

        seconds = (await observer.delay(late))["lateness_seconds"]
        # Three lines of two SKUs, one of which the catalog has told nothing of.
        assert sorted((group["value"], group["delivered"], group["late"]) for group in report) == [
            ("", 1, 1),
            ("chairs", 1, 1),
        ]
        for group in report:
            assert group["lateness_seconds"] == pytest.approx(seconds)
            assert sum(group["shares_seconds"].values()) == pytest.approx(seconds)

    async def test_is_the_same_however_often_it_is_summed_up(self, shop: Shop, observer: Observer) -> None:
        await deliver(observer, picked_after=timedelta(days=15), on_the_way=timedelta(days=2))
        await observer.summarise()
        once = (await shop.get("/reports/delays")).json()

        for _ in range(2):
            await observer.follow()
            await observer.summarise()

        assert (await shop.get("/reports/delays")).json() == once


class TestCalibration:
    async def test_compares_what_was_said_with_what_happened(self, shop: Shop, observer: Observer) -> None:
        for _ in range(3):
            await deliver(observer, picked_after=HOUR, on_the_way=timedelta(days=1))
        await deliver(observer, picked_after=timedelta(days=15), on_the_way=timedelta(days=2))
        shop.clock.advance(timedelta(days=30))
        await observer.follow()
        await observer.summarise()

        report = (await shop.get("/reports/calibration", since="2026-03-01", until="2026-03-31")).json()["items"]

        [at_confirmation] = [one for one in report if one["point"] == "confirmation"]
        assert (at_confirmation["orders"], at_confirmation["late"]) == (4, 1)
        assert at_confirmation["reference_score"] == 0.25 * 0.75
        said = (await observer.delay((await shop.fetch("SELECT order_id FROM order_journeys LIMIT 1"))[0][0]))[
            "probability_late_at_confirmation"
        ]
        assert at_confirmation["brier_score"] == pytest.approx((3 * said**2 + (1 - said) ** 2) / 4)
        [reliability] = at_confirmation["bins"]
        assert (reliability["orders"], reliability["observed_ratio"]) == (4, 0.25)

    async def test_waits_for_promises_to_be_due(self, shop: Shop, observer: Observer) -> None:
        await deliver(observer, picked_after=HOUR, on_the_way=HOUR)
        await observer.summarise()

        report = (await shop.get("/reports/calibration", since="2026-03-01", until="2026-03-31")).json()["items"]

        assert [one["orders"] for one in report] == [0, 0]


class TestConcurrency:
    async def test_members_that_follow_one_order_agree(self, shop: Shop, observer: Observer) -> None:
        order_ids = [await shop.place() for _ in range(5)]
        for order_id in order_ids:
            await shop.confirm(order_id)

        await asyncio.gather(*(observer.follow() for _ in range(4)))

        assert await shop.count("SELECT count(*) FROM order_journeys WHERE promised_by IS NOT NULL") == 5
        assert await shop.count("SELECT count(*) FROM decisions WHERE decision = 'promise-delivery'") == 5

    async def test_replicas_sum_up_once(self, shop: Shop, observer: Observer) -> None:
        await deliver(observer, picked_after=HOUR, on_the_way=HOUR)

        await asyncio.gather(*(observer.summarise() for _ in range(3)))

        assert await shop.count("SELECT sum(delivered) FROM late_summaries") == 1


async def test_sql_and_python_count_in_the_same_buckets(shop: Shop) -> None:
    durations = [0.0, 0.016, 0.017, 1.0, 59.9, 60.1, 100.0, 3_600.5, 86_399.0, 10**6 + 0.5, 10**8]

    rows = await shop.fetch(f"SELECT {BUCKET_SQL} FROM unnest($1::float8[]) AS seconds", durations)  # noqa: S608

    assert [max(0, row[0]) for row in rows] == [bucket_of(duration) for duration in durations]
    # Below a minute, where promises know one bucket, there are six for each half of the time.
    assert [row[0] for row in rows[:5]] == [FINEST, FINEST, FINEST + 1, -35, 0]
    assert Stage.PICK.value == "pick"


class TestRoutes:
    async def test_are_not_for_the_storefront(self, shop: Shop) -> None:
        for path in ("/delays/queue", "/reports/delays", "/reports/calibration"):
            assert (await shop.client.get(f"/v1{path}", headers=key("storefront"))).status_code == 403

    async def test_refuse_what_makes_no_sense(self, shop: Shop) -> None:
        for path, parameters, field in (
            ("/reports/delays", {"by": "sku"}, "by"),
            ("/reports/delays", {"since": "2026-03-02", "until": "2026-03-01"}, "since"),
            ("/reports/delays", {"since": "1990-01-01", "until": "2026-03-01"}, "since"),
            ("/reports/delays", {"since": "yesterday"}, "since"),
            ("/reports/delays", {"until": "0001-01-01"}, "until"),
            ("/reports/calibration", {"since": "9999-12-31"}, "since"),
            ("/reports/delays", {"format": "pdf"}, "format"),
            ("/delays/queue", {"cursor": "nonsense"}, "cursor"),
            ("/delays/queue", {"limit": "0"}, "limit"),
            ("/delays/queue", {"warehouse": "a\x00b"}, "NUL"),
        ):
            response = await shop.get(path, **parameters)

            assert response.status_code == 422, (path, parameters, response.text)
            assert field in response.text

    async def test_show_an_order_before_anything_is_known_of_it(self, shop: Shop) -> None:
        order_id = await shop.place()

        delay = (await shop.get(f"/orders/{order_id}/delay")).json()

        assert (delay["delay_status"], delay["status"]) == ("unconfirmed", "approved")
        assert "promised_by" not in delay

    async def test_know_only_orders_that_there_are(self, shop: Shop) -> None:
        assert (await shop.get(f"/orders/{UUID(int=1)}/delay")).status_code == 404


async def test_the_role_follows_what_the_service_publishes(
    infrastructure: Infrastructure, database: FreshDatabase, shop: Shop
) -> None:
    async with TestBus.open(infrastructure, topics=(*SERVICE.topics, LOGISTICS_SHIPMENT), groups=SERVICE.groups) as bus:
        settings = OrdersSettings(
            database_url=SecretStr(database.url),
            kafka_bootstrap_servers=bus.bootstrap_servers,
            kafka_topic_prefix=bus.topic_prefix,
        )
        process = build(settings, frozenset({"insights"}))
        order_id = await shop.place()
        await shop.confirm(order_id)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for component in process.components:
                group.create_task(component.run(stop))
            for envelope in await shop.published():
                await bus.publish(envelope.event, event_id=envelope.id)

            async def promised() -> int:
                return await shop.count("SELECT count(*) FROM order_journeys WHERE promised_by IS NOT NULL")

            await eventually(promised, lambda orders: orders == 1)
            stop.set()
        for close in reversed(process.closers):
            await close()

    assert (await shop.get(f"/orders/{order_id}/delay")).json()["delay_status"] in {"open", "at-risk", "late"}
    assert await shop.count("SELECT count(*) FROM inbox_events") == 0
