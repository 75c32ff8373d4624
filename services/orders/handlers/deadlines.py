"""What happens to orders when time passes."""

from libs.common.clock import Clock
from services.orders import metrics
from services.orders.domain.messages import DeadlinePassed
from services.orders.domain.state import Answer
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import Unit, Units

_ORDERS_MAX = 200


class DeadlineWatch:
    """Fires due timers; any number of replicas may run it, for an order that one works on is left to it."""

    def __init__(self, units: Units, *, policy: Policy, clock: Clock) -> None:
        """Nothing happens before `work`."""
        self._units = units
        self._policy = policy
        self._clock = clock

    async def work(self) -> int:
        """Fire timers that are due, and return how many."""
        return await self._units.run(self._fire)

    async def _fire(self, unit: Unit) -> int:
        now = self._clock.now()
        due = await unit.timers.due_orders(now=now, limit=_ORDERS_MAX)
        if not due:
            return 0
        saga = Saga(unit, policy=self._policy, now=now)
        locked = await saga.load_free(due)
        # Read again behind the locks: a timer may have been moved or fired since.
        fired = await unit.timers.due_of(locked, now=now)
        for order_id, timer in fired:
            answer = saga.apply(order_id, DeadlinePassed(timer))
            if answer is not Answer.IGNORE:
                unit.after_commit(metrics.orders_deadlines_passed_total.labels(timer).inc)
        await saga.write()
        return len(fired)
