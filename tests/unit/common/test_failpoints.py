import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from libs.common.failpoints import (
    EXIT_STATUS,
    Failpoint,
    FailpointRaised,
    Failpoints,
    InvalidFailpoint,
    check_specification,
)

PLACE = Failpoint.CONSUMER_AFTER_COMMIT
EXITS_AT_THE_SECOND_HIT = """
import asyncio
from libs.common.failpoints import Failpoint, failpoints

failpoints.arm("relay.after-publish[orders]=exit@2")

async def relay():
    for _ in range(3):
        await failpoints.reach(Failpoint.RELAY_AFTER_PUBLISH, "orders")
        print("published", flush=True)

try:
    asyncio.run(relay())
finally:
    print("cleaned up", flush=True)
"""


TELLS_THE_TIME = """
from datetime import UTC, datetime, timedelta
from libs.common.clock import SystemClock, skew_system_clock

clock = SystemClock()
skew_system_clock(timedelta(hours=1))
print((clock.now() - datetime.now(UTC)).total_seconds())
"""


def armed(specification: str) -> Failpoints:
    failpoints = Failpoints()
    failpoints.arm(specification)
    return failpoints


async def hits_that_raise(failpoints: Failpoints, *details: str, times: int = 4) -> list[int]:
    raised = []
    for hit in range(1, times + 1):
        try:
            await failpoints.reach(PLACE, *details)
        except FailpointRaised:
            raised.append(hit)
    return raised


class TestArming:
    def test_nothing_is_armed_unless_asked_for(self) -> None:
        assert not Failpoints().armed
        assert not armed("").armed

    @pytest.mark.parametrize("seconds", [3600, -90])
    def test_a_clock_that_is_wrong_is_at_no_place(self, seconds: int) -> None:
        failpoints = armed(f"clock=skew:{seconds}")

        assert failpoints.clock_skew == timedelta(seconds=seconds)
        assert not failpoints.armed
        assert not armed("").clock_skew

    def test_a_clock_that_is_wrong_is_so_for_whoever_asks_it(self) -> None:
        told = subprocess.run([sys.executable, "-c", TELLS_THE_TIME], capture_output=True, text=True, check=True)

        assert float(told.stdout) == pytest.approx(3600, abs=5)

    def test_says_loudly_what_is_armed(self) -> None:
        with capture_logs() as logs:
            armed("consumer.after-commit[orders.saga]=exit@3")

        [line] = logs
        assert line["log_level"] == "warning"
        assert line["event"] == "failpoint.armed"
        assert line["place"] == PLACE
        assert line["details"] == ["orders.saga"]

    @pytest.mark.parametrize(
        "specification",
        [
            "relay.after-publish",
            "relay.after-publish=",
            "relay.after-publish=explode",
            "relay.elsewhere=exit",
            "relay.after-publish=exit@0",
            "relay.after-publish=exit@-1",
            "relay.after-publish=exit:1",
            "relay.after-publish=sleep",
            "relay.after-publish=sleep:0",
            "relay.after-publish=sleep:1.2.3",
            "relay.after-publish=sleep:86400",
            "relay.after-publish=sleep:-1",
            "relay.after-publish=skew:60",
            "clock=exit",
            "clock=skew",
            "clock=skew:86400",
            "relay.after-publish[]=exit",
            "relay.after-publish=exit,relay.before-publish=exit",
        ],
    )
    def test_refuses_what_it_does_not_understand(self, specification: str) -> None:
        with pytest.raises(InvalidFailpoint):
            check_specification(specification)


class TestReaching:
    async def test_acts_at_the_hit_that_was_asked_for_only(self) -> None:
        assert await hits_that_raise(armed("consumer.after-commit=raise")) == [1]
        assert await hits_that_raise(armed("consumer.after-commit=raise@3")) == [3]
        assert await hits_that_raise(armed("consumer.after-commit=raise@3+")) == [3, 4]

    async def test_acts_only_where_all_details_are_met(self) -> None:
        specification = "consumer.after-commit[orders.saga, order.approved]=raise@1+"

        assert await hits_that_raise(armed(specification), "orders.saga") == []
        assert await hits_that_raise(armed(specification), "orders.saga", "order.approved", "more", times=1) == [1]

    async def test_counts_no_hit_whose_details_differ(self) -> None:
        failpoints = armed("consumer.after-commit[orders.saga]=raise@2")

        assert await hits_that_raise(failpoints, "inventory.intake") == []
        assert await hits_that_raise(failpoints, "orders.saga") == [2]

    async def test_leaves_other_places_alone(self) -> None:
        await armed("relay.after-publish=raise").reach(PLACE)

    async def test_disconnecting_is_a_passing_fault(self) -> None:
        with pytest.raises(ConnectionResetError):
            await armed("consumer.after-commit=disconnect").reach(PLACE)

    async def test_sleeping_lets_others_go_on(self) -> None:
        others = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            sleeper = group.create_task(armed("consumer.after-commit=sleep:60").reach(PLACE))
            group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: others.set())
            await others.wait()
            assert not sleeper.done()
            sleeper.cancel()

    def test_exits_without_a_word(self) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", EXITS_AT_THE_SECOND_HIT], capture_output=True, text=True, check=False
        )

        assert ended.returncode == EXIT_STATUS
        assert "cleaned up" not in ended.stdout
        assert ended.stdout.count("published\n") == 1
