"""What the whole flow's figures are made of."""

from bench.speed.order_flow import by_service
from bench.speed.placed_orders import order_bodies
from bench.speed.results import MEBIBYTES, Row, Sample, Series, Target
from bench.speed.table import cells


def test_processor_time_is_added_up_by_service() -> None:
    used = {"orders-api": 1.0, "orders-relay": 0.5, "inventory-consumer": 2.0, "postgres": 3.0, "kafka": 0.25}

    assert by_service(used) == {"orders": 1.5, "inventory": 2.0, "postgres": 3.0, "kafka": 0.25}


def test_memory_is_that_of_the_largest_process() -> None:
    samples = [
        Sample(operations=10, seconds=1, cpu_seconds={}, extra={MEBIBYTES: size}) for size in (120.0, 260.0, 110.0)
    ]
    row = Row(
        figure="memory",
        title="memory",
        unit="orders",
        ours=Series(name="all", samples=samples),
        targets=[Target(kind="mebibytes", value=250)],
        conditions="",
    )

    assert row.reached(row.targets[0]) is False
    assert cells(row)[1] == "260 MiB"
    assert cells(row)[4] == "✗ < 250 MiB"


def test_baskets_are_the_same_in_every_run_but_for_who_buys() -> None:
    first, second = ([*order_bodies(3, sku_count=10, seed=4)] for _ in range(2))

    assert [one["lines"] for one in first] == [one["lines"] for one in second]
    assert [one["reference"] for one in first] == ["4-0", "4-1", "4-2"]
    assert len({one["customer_id"] for one in first + second}) == 6
    assert all(len({line["sku"] for line in one["lines"]}) == 3 for one in first)
