"""Those who want something of the shop: customers, operators, warehouses; each asks until there is an answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec.structs import replace

from libs.common import ids
from libs.common.errors import DomainError
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsReceived,
    TransferDispatched,
    TransferReceived,
    WarehouseReport,
)
from libs.common.events.shapes import Destination, SkuQuantity
from services.inventory.domain.holds import HoldPolicies
from services.inventory.domain.transfers import Missing
from services.inventory.handlers import transfers
from services.inventory.handlers.holds import (
    CommitHold,
    ExtendHold,
    HoldCommand,
    HoldState,
    PlaceHold,
    ReleaseHold,
    apply_hold_commands,
)
from services.inventory.handlers.ports import Tools
from services.orders.domain.edits import AddedLine, LineQuantity
from services.orders.domain.findings import Consequence
from services.orders.domain.interventions import declined_steps
from services.orders.domain.order import (
    TERMINAL,
    Address,
    NewOrder,
    OrderFacts,
    OrderLine,
    OrderStatus,
)
from services.orders.domain.prices import PricePolicy
from services.orders.domain.returns import Disposition, Grade, InspectedUnits, ReceivedUnits, Return, WantedInstead
from services.orders.domain.review import Counted, Rule, Rules, Subject, Velocity, Verdict, Window, amount
from services.orders.domain.state import OrderState
from services.orders.handlers.actions import Action, Request, act_on_order
from services.orders.handlers.cancellation import cancel_order
from services.orders.handlers.edits import EditRequest, edit_order
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.placement import place_orders
from services.orders.handlers.prices import PriceCheck
from services.orders.handlers.returns import Receipt, Wish, inspect_goods, receive_goods, request_return, take_in
from services.orders.handlers.review import Reviewing, review_order
from services.orders.handlers.review import Verdict as Decided
from services.orders.handlers.waiting import wait_on
from tests.simulation.inventory_store import WAREHOUSES
from tests.simulation.store import session_of

if TYPE_CHECKING:
    from tests.simulation.shop import Shop

# A SKU costs the same in every order, so that what was in a parcel says what it was worth.
PRICES: Final[Mapping[str, int]] = {"CRUNCHY-ARMCHAIR": 100, "OMINOUS-MIRROR": 200, "ZEALOUS-ZEBRA": 300}
SKUS: Final = tuple(PRICES)
CODES: Final = tuple(warehouse.code for warehouse in WAREHOUSES)
ORDERS_BY_RULE_MAX: Final = 2
_WINDOW: Final = Window(Counted.ORDERS, Subject.CUSTOMER, timedelta(hours=1))
_REVIEWING: Final = Reviewing(
    rules=Rules(
        version="simulated/1",
        rules=(
            Rule(name="velocity", test=Velocity(_WINDOW), limit=ORDERS_BY_RULE_MAX, verdict=Verdict.HOLD),
            Rule(name="amount", test=amount(), limit=1_200, verdict=Verdict.REFUSE),
        ),
    )
)
_PASSING: Final = Reviewing(rules=Rules(version="simulated/0", rules=()))
_PRICE_CHECK: Final = PriceCheck(
    standard=PricePolicy(on_mismatch=Consequence.IGNORE, on_unknown=Consequence.IGNORE), grace=timedelta(0)
)
_PLACE: Final = Destination(country="GB", latitude=51.5, longitude=-0.1)
_NO_ANSWER: Final = "no answer"
_SHIPPED_WITHIN_SECONDS: Final = 240.0
_AGE_YEARS_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What people do in a run besides ordering and calling off; most runs have some of it only."""

    reviews: bool = False
    shortages: bool = False
    edits: bool = False
    returns: bool = False
    holds: bool = False
    transfers: bool = False
    losses: bool = False
    lost_parcels: bool = False
    operators: bool = False


def habits_of(chance: random.Random) -> Habits:
    """Draw what people do."""
    return Habits(**{name: chance.random() < 0.3 for name in Habits.__slots__})


class People:
    """Everybody who asks something of one shop."""

    def __init__(self, shop: "Shop", habits: Habits) -> None:
        """Nobody asks anything yet."""
        self.habits = habits
        self._shop = shop
        self._chance = shop.world.chance
        self._keys = count()
        self._reviewing = _REVIEWING if habits.reviews else _PASSING

    async def customer(self, number: int) -> None:
        """Place an order, and perhaps change it, call it off, or send some of it back."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(0, 15.0))
        order = self._new_order(number)
        if self.habits.holds and chance.random() < 0.7:
            order = await self._with_hold(order)

        async def place(unit: Any, policy: Policy, now: datetime) -> None:
            # As the API does: what is sent again is placed at another time, if the first request was in vain.
            placed = replace(order, facts=replace(order.facts, placed_at=now, received_at=now))
            await place_orders([placed], unit=unit, reviewing=self._reviewing, policy=policy, now=now)

        await self._ask(place)
        self._shop.accepted.add(order.id)
        wishes = []
        if chance.random() < (0.15 if self.habits.edits or self.habits.returns else 0.4):
            wishes.append(self._call_off(order.id))
        if self.habits.edits and chance.random() < 0.8:
            wishes.append(self._edit(order.id))
        if self.habits.returns and chance.random() < 0.8:
            wishes.append(self._send_back(order.id))
        if self.habits.shortages and order.facts.on_shortage == "wait":
            wishes.append(self._wait_on(order.id))
        if self.habits.operators and chance.random() < 0.4:
            wishes.append(self._act(order.id, Action.FORCE_COMPENSATE, None, chance.expovariate(0.1)))
        await asyncio.gather(*wishes)

    async def _call_off(self, order_id: UUID) -> None:
        await asyncio.sleep(self._chance.expovariate(0.1))

        async def call_off(unit: Any, policy: Policy, now: datetime) -> None:
            await cancel_order(order_id, reason="changed-mind", unit=unit, policy=policy, now=now)

        await self._ask(call_off)

    async def _wait_on(self, order_id: UUID) -> None:
        await asyncio.sleep(self._chance.uniform(20.0, 90.0))

        async def wait(unit: Any, policy: Policy, now: datetime) -> None:
            await wait_on(order_id, reason="patient", unit=unit, policy=policy, now=now)

        await self._ask(wait)

    async def _edit(self, order_id: UUID) -> None:
        chance = self._chance
        for _ in range(chance.randint(1, 2)):
            await asyncio.sleep(chance.expovariate(0.12))
            row = self._shop.orders.table("orders")[order_id]
            changed = [LineQuantity(line=chance.choice(row.order.lines).line, quantity=chance.randint(0, 3))]
            sku = chance.choice(SKUS)
            added = [AddedLine(sku=sku, quantity=1, unit_price_minor=PRICES[sku])] if chance.random() < 0.4 else []
            request = EditRequest(
                revision=row.revision,
                principal="customer",
                reason="wants-other",
                quantities=changed,
                added=added,
                payment_token=chance.choice((None, "tok_other")),
            )

            async def edit(unit: Any, policy: Policy, now: datetime, request: EditRequest = request) -> UUID:
                made = await edit_order(
                    order_id,
                    request,
                    unit=unit,
                    reviewing=self._reviewing,
                    price_check=_PRICE_CHECK,
                    policy=policy,
                    now=now,
                )
                return made.id

            if await self._ask(edit) is not None:
                self._shop.world.meet("order edited")

    async def _send_back(self, order_id: UUID) -> None:
        chance = self._chance
        if not await self._shop.is_shipped(order_id, seconds=_SHIPPED_WITHIN_SECONDS):
            return
        await asyncio.sleep(chance.expovariate(0.1))
        line = chance.choice(self._shop.orders.table("orders")[order_id].order.lines)
        other = chance.choice(SKUS)
        instead = [WantedInstead(sku=other, quantity=chance.randint(1, 2), unit_price_minor=PRICES[other])]
        wish = Wish(
            units=[SkuQuantity(sku=line.sku, quantity=chance.randint(1, line.quantity))],
            reason="does not fit",
            exchange_for=instead if chance.random() < 0.5 else (),
            payment_token="tok_exchange",
        )

        async def announce(unit: Any, policy: Policy, now: datetime) -> Return:
            return await request_return(order_id, wish, unit=unit, policy=policy, now=now)

        announced = await self._ask(announce)
        if announced is not None:
            await asyncio.sleep(chance.expovariate(0.2))
            await self._take_back(announced)

    async def _take_back(self, announced: Return) -> None:
        """Receive a return in a warehouse, perhaps not all of it, and look at what came at once or later."""
        chance = self._chance
        sku, units = announced.lines[0].sku, sum(line.quantity for line in announced.lines)
        came = chance.randint(0, units) if chance.random() < 0.3 else units
        sellable = chance.randint(0, came)
        now = self._shop.world.clock.now()
        is_looked_at = chance.random() < 0.4
        receipt = Receipt(
            warehouse=chance.choice(CODES),
            received_at=now,
            units=[ReceivedUnits(sku, came, sellable if is_looked_at else 0)] if came else [],
        )
        if is_looked_at:

            async def receive(unit: Any, policy: Policy, now: datetime) -> None:
                await receive_goods(
                    announced.id, receipt=receipt, principal="warehouse", unit=unit, policy=policy, now=now
                )

            await self._ask(receive)
            return

        async def take(unit: Any, _policy: Policy, now: datetime) -> None:
            await take_in(announced.id, receipt=receipt, unit=unit, now=now)

        await self._ask(take)
        await asyncio.sleep(chance.expovariate(0.2))
        found = [
            InspectedUnits(
                sku=sku, quantity=number, grade=Grade.OPENED, disposition=disposition, refund_percent=percent
            )
            for number, disposition, percent in (
                (sellable, Disposition.RESTOCK, 100),
                (came - sellable, Disposition.WRITE_OFF, chance.choice((0, 50, 100))),
            )
            if number
        ]

        async def inspect(unit: Any, policy: Policy, now: datetime) -> None:
            await inspect_goods(announced.id, found, principal="warehouse", unit=unit, policy=policy, now=now)

        await self._ask(inspect)

    async def operator(self) -> None:
        """Look after what waits for a person, for as long as the world lasts."""
        chance = self._chance
        while True:
            await asyncio.sleep(chance.uniform(4.0, 16.0))
            for order_id, row in list(self._shop.orders.table("orders").items()):
                state = row.state
                if state.status is OrderStatus.HELD:
                    if chance.random() < 0.4:
                        await self._review(order_id)
                elif needs_person(state):
                    parcels = [one.id for one in state.shipments if one.has_left]
                    action = chance.choice(_ACTIONS.get(state.status, (Action.RETRY, Action.FORCE_COMPENSATE)))
                    await self._act(order_id, action, chance.choice(parcels) if parcels else None, 0.0)

    async def _review(self, order_id: UUID) -> None:
        verdict = self._chance.choice((Decided.APPROVE, Decided.APPROVE, Decided.REFUSE))

        async def review(unit: Any, policy: Policy, now: datetime) -> None:
            await review_order(
                order_id,
                verdict=verdict,
                reason="looked at",
                reviewer="operator",
                unit=unit,
                policy=policy,
                now=now,
            )

        await self._ask(review)
        self._shop.world.meet("reviewed by a person")

    async def _act(self, order_id: UUID, action: Action, parcel: UUID | None, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        request = Request(action=action, reason="decided", principal="operator", shipment_id=parcel)

        async def act(unit: Any, policy: Policy, now: datetime) -> UUID:
            return (await act_on_order(order_id, request, unit=unit, policy=policy, now=now)).id

        if await self._ask(act) is not None:
            self._shop.world.meet(f"operator: {action}")

    async def _with_hold(self, order: NewOrder) -> NewOrder:
        """Hold units before there is an order, and perhaps order with the hold, or let it end otherwise."""
        chance = self._chance
        wanted = {line.sku: line.quantity for line in order.lines}
        hold_id = ids.new_id()
        place = PlaceHold(
            reservation_id=hold_id,
            channel="web",
            wanted=wanted,
            destination=_PLACE,
            mode=chance.choice(("all-or-nothing", "best-effort")),
            ttl_seconds=chance.randint(5, 40),
            by="storefront",
        )
        if not isinstance(await self._hold(place), HoldState):
            return order
        self._shop.world.meet("units held")
        await asyncio.sleep(chance.expovariate(0.1))
        match chance.choice(("order", "order", "extend", "release", "commit", "forget")):
            case "extend":
                await self._hold(ExtendHold(reservation_id=hold_id, ttl_seconds=60, by="storefront"))
            case "release":
                await self._hold(ReleaseHold(reservation_id=hold_id, by="storefront"))
            case "commit":
                await self._hold(CommitHold(reservation_id=hold_id, by="storefront"))
            case "forget":
                return order
            case _:
                pass
        return replace(order, facts=replace(order.facts, hold_id=hold_id))

    async def _hold(self, command: HoldCommand) -> HoldState | None:
        async def carry_out(tools: Tools) -> HoldState:
            _, [result] = await apply_hold_commands([command], tools=tools, policies=HoldPolicies())
            if isinstance(result, DomainError):
                raise result
            return result

        result: HoldState | None = await self._ask_inventory(carry_out)
        return result

    async def planner(self) -> None:
        """Move units from one warehouse to the other, by the plan or by reports, and settle what went wrong."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(0, 20.0))
        source, destination = chance.sample(CODES, 2)
        line = SkuQuantity(sku=chance.choice(SKUS), quantity=chance.randint(1, 3))
        planned = transfers.PlannedTransfer(source=source, destination=destination, lines=[line])
        transfer_id = await self._ask_inventory(lambda tools: transfers.propose_transfer(planned, tools=tools, by="p"))
        if transfer_id is None:
            return
        request = transfers.Request(transfer_id=transfer_id, by="p")
        await asyncio.sleep(chance.expovariate(0.3))
        if await self._ask_inventory(lambda tools: transfers.approve_transfer(request, tools=tools)) is None:
            await self._ask_inventory(lambda tools: transfers.cancel_transfer(request, reason="none", tools=tools))
            return
        self._shop.world.meet("transfer approved")
        await asyncio.sleep(chance.expovariate(0.2))
        if chance.random() < 0.2:
            await self._ask_inventory(lambda tools: transfers.cancel_transfer(request, reason="no", tools=tools))
            return
        await self._move(request, transfers.dispatch_transfer, source, destination, line)
        await asyncio.sleep(chance.expovariate(0.2))
        came = max(1, line.quantity + chance.choice((-1, 0, 0, 1)))
        arrived = SkuQuantity(sku=line.sku, quantity=came)
        await self._move(request, transfers.receive_transfer, destination, destination, arrived)
        await asyncio.sleep(chance.expovariate(0.2))
        missing: Missing = chance.choice(("write-off", "return-to-source"))
        await self._ask_inventory(
            lambda tools: transfers.close_transfer(request, reason="settled", missing=missing, tools=tools)
        )

    async def _move(
        self, request: transfers.Request, move: Callable[..., Any], warehouse: str, destination: str, line: SkuQuantity
    ) -> None:
        """Tell of units that left or arrived: by the plan, or as the warehouse reports them itself."""
        now, event_id = self._shop.world.clock.now(), ids.new_id()
        is_departure = move is transfers.dispatch_transfer
        self._shop.moved["out" if is_departure else "in", line.sku] += line.quantity
        if self._chance.random() < 0.5:
            moved = transfers.Moved(
                at=now, lines=[transfers.MovedLine(sku=line.sku, quantity=line.quantity, event_id=event_id)]
            )
            answer = await self._ask_inventory(
                lambda tools: move(request, moved, tools=tools, age_years_max=_AGE_YEARS_MAX)
            )
            if answer is None:
                self._shop.moved["out" if is_departure else "in", line.sku] -= line.quantity
            return
        report: WarehouseReport = (
            TransferDispatched(
                sku=line.sku,
                warehouse=warehouse,
                occurred_at=now,
                transfer_id=request.transfer_id,
                destination=destination,
                quantity=line.quantity,
            )
            if is_departure
            else TransferReceived(
                sku=line.sku,
                warehouse=warehouse,
                occurred_at=now,
                transfer_id=request.transfer_id,
                quantity=line.quantity,
            )
        )
        await self._shop.report(report, event_id)

    async def supplier(self) -> None:
        """Report goods that arrived, or that are not there any more."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(0, 30.0))
        sku, warehouse, units = chance.choice(SKUS), chance.choice(CODES), chance.randint(1, 6)
        now = self._shop.world.clock.now()
        if self.habits.losses and chance.random() < 0.6:
            lost = min(units, 3)
            self._shop.adjusted[sku, warehouse] -= lost
            self._shop.world.meet("goods lost")
            loss = GoodsAdjusted(sku=sku, warehouse=warehouse, occurred_at=now, delta=-lost, reason="broken")
            await self._shop.report(loss, ids.new_id())
            return
        arrival = GoodsReceived(sku=sku, warehouse=warehouse, occurred_at=now, quantity=units)
        event_id = ids.new_id()
        if self._shop.may_kill(event_id):
            self._shop.world.note(f"{event_id} kills who handles it")
        else:
            self._shop.received[sku, warehouse] += units
        await self._shop.report(arrival, event_id)

    async def _ask(self, serve: Callable[[Any, Policy, datetime], Awaitable[Any]]) -> Any:
        """Ask the API of orders until there is an answer; None is a refusal."""
        key = next(self._keys)

        async def once(transaction: Any, unit: Any, policy: Policy) -> Any:
            session = session_of(transaction)
            if not await session.insert("idempotency_keys", key, _NO_ANSWER):
                return session.get("idempotency_keys", key)
            answer = await serve(unit, policy, self._shop.world.clock.now())
            if answer is not None:
                session.put("idempotency_keys", key, answer)
            return _NO_ANSWER if answer is None else answer

        try:
            return await self._shop.request(once)
        except DomainError as refusal:
            self._shop.world.note(f"refused: {refusal!r}")
            return None

    async def _ask_inventory(self, serve: Callable[[Tools], Awaitable[Any]]) -> Any:
        """Ask the API of inventory until there is an answer; None is a refusal."""
        key = next(self._keys)

        async def once(transaction: Any, tools: Tools) -> Any:
            session = session_of(transaction)
            if not await session.insert("idempotency_keys", key, _NO_ANSWER):
                return session.get("idempotency_keys", key)
            answer = await serve(tools)
            if answer is not None:
                session.put("idempotency_keys", key, answer)
            return _NO_ANSWER if answer is None else answer

        try:
            return await self._shop.request_of_inventory(once)
        except DomainError as refusal:
            self._shop.world.note(f"refused: {refusal!r}")
            return None

    def _new_order(self, number: int) -> NewOrder:
        chance = self._chance
        now = self._shop.world.clock.now()
        lines = tuple(
            OrderLine(line=line, sku=sku, quantity=chance.randint(1, 3), unit_price_minor=PRICES[sku])
            for line, sku in enumerate(chance.sample(SKUS, chance.randint(1, 2)), start=1)
        )
        shortage: Sequence[Any] = ("split", "split", "wait") if self.habits.shortages else ("backorder", "refuse")
        facts = OrderFacts(
            customer_id=f"customer-{number % 2 if self.habits.reviews else number}",
            channel="web",
            reference=None,
            currency="GBP",
            total_minor=sum(line.quantity * line.unit_price_minor for line in lines),
            placed_at=now,
            received_at=now,
            destination=_PLACE,
            on_shortage=chance.choice(shortage),
            is_split_allowed=chance.random() < 0.7,
            correlation_id=f"order-{number}",
        )
        return NewOrder(id=ids.new_id(), facts=facts, lines=lines, address=Address(), payment_token="tok_ok")


_ACTIONS: Final[Mapping[OrderStatus, Sequence[Action]]] = {
    OrderStatus.SHIPPED: (Action.REFUND_PARCEL, Action.RESHIP, Action.SKIP),
    OrderStatus.CONFIRMED: (Action.RETRY, Action.SKIP, Action.FORCE_COMPENSATE),
}


def needs_person(state: OrderState) -> bool:
    """Tell whether an order does not go on by itself."""
    return state.status not in TERMINAL and (state.stuck_since is not None or bool(declined_steps(state)))
