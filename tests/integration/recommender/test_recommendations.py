from libs.common.events.storefront import RecommendationShown
from libs.common.events.topics import STOREFRONT_BEHAVIOUR
from libs.common.privacy import Pseudonyms
from tests.integration.recommender.facts import delisted, listed, order, stock, view
from tests.integration.recommender.running import RunningRecommender, running_recommender
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase

SKUS = ("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR", "TALL-LAMP", "BLUE-VASE")


async def put_up(shop: RunningRecommender) -> None:
    for sku in SKUS:
        await shop.bus.publish(listed(sku), aggregate_version=1)
        await shop.bus.publish(stock(sku, on_hand=5, reserved=2), aggregate_version=1)


class TestRecommendations:
    async def test_follow_orders_views_stock_and_listing(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        async with running_recommender(infrastructure, database) as shop:
            await put_up(shop)
            for _ in range(3):
                await shop.bus.publish(order("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"))
            for sku in ("CRUNCHY-ARMCHAIR", "TALL-LAMP", "BLUE-VASE"):
                await shop.bus.publish(view(sku))

            async def beside_the_armchair() -> list[str]:
                return await shop.recommended(sku="CRUNCHY-ARMCHAIR")

            # Both topics have been learned from once all three are there.
            everything = ["OMINOUS-MIRROR", "BLUE-VASE", "TALL-LAMP"]
            await eventually(beside_the_armchair, lambda skus: skus == everything)
            answer = await shop.recommend(sku="CRUNCHY-ARMCHAIR")
            assert answer["items"][0]["reason"] == "bought together with CRUNCHY-ARMCHAIR"
            assert answer["items"][1]["reason"] == "viewed together with CRUNCHY-ARMCHAIR"
            assert answer["rule"] == "item-neighbours/1"
            assert answer["decision"]["inputs"]["candidates"] == 3

            # Who bought the mirror is not offered it again.
            assert await shop.recommended(user_id="customer-7") == ["BLUE-VASE", "TALL-LAMP"]

            await shop.bus.publish(stock("OMINOUS-MIRROR", on_hand=5, reserved=5), aggregate_version=2)
            await shop.bus.publish(delisted("TALL-LAMP"), aggregate_version=2)
            await eventually(beside_the_armchair, lambda skus: skus == ["BLUE-VASE"])

            await shop.bus.publish(stock("OMINOUS-MIRROR", on_hand=5), aggregate_version=3)
            await eventually(beside_the_armchair, lambda skus: skus == ["OMINOUS-MIRROR", "BLUE-VASE"])

    async def test_are_noted_on_the_topic_for_the_visitor(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        async with running_recommender(infrastructure, database) as shop:
            await put_up(shop)
            await shop.bus.publish(view("BLUE-VASE"))

            async def for_the_visitor() -> list[str]:
                return await shop.recommended(user_id="visitor-1", placement="home")

            await eventually(for_the_visitor, lambda skus: skus == ["BLUE-VASE"])

            async def shown() -> list[RecommendationShown]:
                events = [envelope.event for envelope in await shop.bus.read_all(STOREFRONT_BEHAVIOUR)]
                return [event for event in events if isinstance(event, RecommendationShown)]

            (first, *_) = await eventually(shown)
            assert (first.visitor_id, first.placement, first.skus) == (
                Pseudonyms.local().of("visitor-1"),
                "home",
                ["BLUE-VASE"],
            )

    async def test_refuse_a_limit_that_is_too_large(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        async with running_recommender(infrastructure, database, has_consumer=False) as shop:
            answer = await shop.client.get("/v1/recommendations", params={"limit": 51})
            nothing = await shop.recommend(sku="NEVER-HEARD-OF")

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "limit"
        assert nothing["items"] == []
