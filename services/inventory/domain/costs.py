"""
What the units of a SKU cost: the perpetual weighted average, by warehouse, in the order in which things happened.

After each receipt the average is (value before + cost of what came) / (units before + units that came); whatever leaves
does so at the average (IAS 2, "Inventories", paragraph 27; Horngren, Datar and Rajan, "Cost Accounting", on the
weighted-average method). The rest follows from that:

- Units moved to another warehouse take their cost along, and are worth it while they are on their way.
- What comes back, and what a count or a correction finds, comes in at the average, or the last one there was.
- A receipt without a cost comes in at the average as well; where there is none, its units are *uncosted*: they have
  no value. Nobody can tell them from the others, so that what leaves has the same share of both, parts of units
  included: of three uncosted units and one of a pound, each that is sold costs 25 pence, in one parcel or in four.
- What left before it had arrived is owed; the next arrival covers it, and its cost counts as sold then.
- Amounts of different currencies are never added: a unit bought in two currencies carries a part of each.

It is a pure fold over the lines of the ledger by event time, with ties broken by what the lines say and never by when
they came in, so the result does not depend on the order of their arrival. Counts set the balance to what was counted;
the corrections that the ledger books when a report is late are then already in it. Shortfalls are bookkeeping and no
goods.

Values are whole *micros*, millionths of a minor unit (of a penny), and conserved: what a division leaves over stays in
the stock. Uncosted units are counted in whole *parts*, of which a unit has so many that their rounding never shows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.inventory.domain.stock import MovementKind

MICROS_PER_MINOR: Final = 1_000_000
PARTS_PER_UNIT: Final = 1_000_000_000_000
# Stands for the warehouse of what is on its way between two.
IN_TRANSIT: Final = ""

Values = dict[str, int]
"""Micros by currency."""


class CostedMovement(NamedTuple):
    """A line of the ledger, as far as costs depend on it."""

    event_id: UUID
    leg: int
    kind: MovementKind
    warehouse: str
    units: int
    occurred_at: datetime
    transfer_id: UUID | None = None
    unit_cost_minor: int | None = None
    currency: str | None = None
    counted: int | None = None


# Of the same moment: what comes before what goes, and a count sees all of it.
_RANKS: Final = {
    MovementKind.RECEIPT: 0,
    MovementKind.RETURN: 1,
    MovementKind.TRANSFER_OUT: 2,
    MovementKind.TRANSFER_IN: 3,
    MovementKind.COUNT: 5,
}
_RANK_OTHERS: Final = 4
_RANK_COUNTED: Final = 6


@dataclass(slots=True)
class Goods:
    """Units with their value; `uncosted_parts` of them have none."""

    units: int = 0
    uncosted_parts: int = 0
    values: Values = field(default_factory=dict)

    @property
    def costed_parts(self) -> int:
        """What of the units has a value."""
        return self.units * PARTS_PER_UNIT - self.uncosted_parts

    def add(self, other: "Goods") -> None:
        """Put other goods in."""
        self.units += other.units
        self.uncosted_parts += other.uncosted_parts
        _add(self.values, other.values)

    def take(self, units: int) -> "Goods":
        """Take out so many units at most: the same share of what has a value, of the value and of what has none."""
        taken = min(units, self.units)
        if taken == self.units:
            everything = Goods(self.units, self.uncosted_parts, self.values)
            self.units, self.uncosted_parts, self.values = 0, 0, {}
            return everything
        uncosted_parts = _share(self.uncosted_parts, taken, self.units) if self.uncosted_parts else 0
        values = {}
        for currency, micros in self.values.items():
            values[currency] = _share(micros, taken, self.units)
            self.values[currency] = micros - values[currency]
        self.units -= taken
        self.uncosted_parts -= uncosted_parts
        return Goods(taken, uncosted_parts, values)


@dataclass(slots=True)
class Totals:
    """Everything that ever happened of one sort: units, and their value."""

    units: int = 0
    values: Values = field(default_factory=dict)

    def add(self, goods: Goods, sign: int = 1) -> None:
        """Count goods, or take them back."""
        self.units += sign * goods.units
        _add(self.values, goods.values, sign)


@dataclass(slots=True)
class StockCost:
    """
    The goods of a SKU in one warehouse at the end of `day`, and all that ever happened to them.

    `owed` units left before they had arrived. `last` are goods whose average was the last one known. `unpriced_units`
    came without a cost. `unit_days`, `value_days` and `empty_days` sum up what was there at the end of each day since
    `first_day`, `day` included; `empty_days` are days that ended with nothing.
    """

    goods: Goods = field(default_factory=Goods)
    owed: int = 0
    last: Goods = field(default_factory=Goods)
    received: Totals = field(default_factory=Totals)
    sold: Totals = field(default_factory=Totals)
    returned: Totals = field(default_factory=Totals)
    adjusted: Totals = field(default_factory=Totals)
    transferred: Totals = field(default_factory=Totals)
    unpriced_units: int = 0
    first_day: date | None = None
    day: date | None = None
    unit_days: int = 0
    value_days: Values = field(default_factory=dict)
    empty_days: int = 0
    last_sold_on: date | None = None
    last_received_on: date | None = None

    @property
    def balance(self) -> int:
        """Units there, negative where more are owed than are there."""
        return self.goods.units - self.owed

    def receive(self, units: int, unit_cost_minor: int | None, currency: str | None, day: date) -> None:
        """Units came from a supplier."""
        self.last_received_on = day
        if unit_cost_minor is None or currency is None:
            self.unpriced_units += units
            goods = self._at_average(units)
        else:
            goods = Goods(units, 0, {currency: units * unit_cost_minor * MICROS_PER_MINOR})
        self.received.add(goods)
        self._put(goods)

    def sell(self, units: int, day: date) -> None:
        """Units left for customers."""
        self.last_sold_on = day
        goods, owed = self._take(units)
        self.sold.add(goods)
        self.sold.units += owed

    def take_back(self, units: int) -> None:
        """Units came back from customers."""
        goods = self._at_average(units)
        self.returned.add(goods)
        self._put(goods)

    def adjust(self, units: int) -> None:
        """Units were found, or are missing."""
        if units >= 0:
            goods = self._at_average(units)
            self.adjusted.add(goods)
            self._put(goods)
        else:
            goods, owed = self._take(-units)
            self.adjusted.add(goods, -1)
            self.adjusted.units -= owed

    def send(self, units: int) -> Goods:
        """Units left for another warehouse: return them with their cost."""
        goods, owed = self._take(units)
        goods.units += owed
        goods.uncosted_parts += owed * PARTS_PER_UNIT
        self.transferred.add(goods, -1)
        return goods

    def take_in(self, goods: Goods, beyond: int) -> None:
        """Goods came from another warehouse, `beyond` of which nobody knows where from."""
        if beyond:
            goods.add(self._at_average(beyond))
        self.transferred.add(goods)
        self._put(goods)

    def close(self, day: date) -> None:
        """End a day on which something happened."""
        if self.first_day is None:
            self.first_day = day
        self.day = day
        self._count_days(1)

    def open(self, day: date) -> None:
        """Begin a day: on those between it and the last that was closed nothing happened."""
        if self.day is not None and (days := (day - self.day).days - 1) > 0:
            self._count_days(days)

    def _count_days(self, days: int) -> None:
        self.unit_days += days * self.goods.units
        _add(self.value_days, self.goods.values, days)
        if not self.goods.units:
            self.empty_days += days

    def _at_average(self, units: int) -> Goods:
        goods = self.goods if self.goods.costed_parts else self.last
        parts = units * PARTS_PER_UNIT
        if not goods.costed_parts:
            return Goods(units, parts)
        return Goods(units, 0, {one: _share(micros, parts, goods.costed_parts) for one, micros in goods.values.items()})

    def _put(self, goods: Goods) -> None:
        if self.owed:
            covered = goods.take(self.owed)
            self.owed -= covered.units
            # The units were counted when they left, only their cost was not known.
            _add(self.sold.values, covered.values)
            self._remember(covered)
        self.goods.add(goods)

    def _take(self, units: int) -> tuple[Goods, int]:
        self._remember(self.goods)
        goods = self.goods.take(units)
        owed = units - goods.units
        self.owed += owed
        return goods, owed

    def _remember(self, goods: Goods) -> None:
        if goods.costed_parts:
            self.last = Goods(goods.units, goods.uncosted_parts, dict(goods.values))


@dataclass(slots=True)
class SkuCost:
    """The costs of a SKU at the end of a day: by warehouse, and of each transfer that is on its way."""

    stocks: dict[str, StockCost] = field(default_factory=dict)
    transfers: dict[UUID, Goods] = field(default_factory=dict)

    def fold_day(self, day: date, movements: Iterable[CostedMovement]) -> dict[str, StockCost]:
        """Apply all movements of one day, after those of all days before; return the stocks that were concerned."""
        ordered = sorted((one for one in movements if one.kind is not MovementKind.SHORTFALL), key=_place)
        counted = {(one.warehouse, one.occurred_at) for one in ordered if one.counted is not None}
        touched: dict[str, StockCost] = {}
        for one in ordered:
            if one.kind is MovementKind.COUNT and one.counted is None and (one.warehouse, one.occurred_at) in counted:
                continue
            self._apply(self._touch(one.warehouse, day, touched), one, day, touched)
        for stock in touched.values():
            stock.close(day)
        return touched

    def _touch(self, warehouse: str, day: date, touched: dict[str, StockCost]) -> StockCost:
        stock = touched.get(warehouse)
        if stock is None:
            stock = touched[warehouse] = self.stocks.setdefault(warehouse, StockCost())
            stock.open(day)
        return stock

    def _apply(self, stock: StockCost, one: CostedMovement, day: date, touched: dict[str, StockCost]) -> None:
        units = one.units
        match one.kind:
            case MovementKind.RECEIPT:
                stock.receive(units, one.unit_cost_minor, one.currency, day)
            case MovementKind.PICK | MovementKind.SHIP:
                if units:
                    stock.sell(-units, day)
            case MovementKind.RETURN:
                stock.take_back(units)
            case MovementKind.TRANSFER_OUT if one.transfer_id is not None:
                goods = stock.send(-units)
                on_their_way = Goods(goods.units, goods.uncosted_parts, dict(goods.values))
                self._touch(IN_TRANSIT, day, touched).take_in(on_their_way, 0)
                self.transfers.setdefault(one.transfer_id, Goods()).add(goods)
            case MovementKind.TRANSFER_IN if one.transfer_id is not None:
                stock.take_in(*self._arrive(one.transfer_id, units, self._touch(IN_TRANSIT, day, touched)))
            case MovementKind.COUNT if one.counted is not None:
                stock.adjust(one.counted - stock.balance)
            case _:
                stock.adjust(units)

    def _arrive(self, transfer_id: UUID, units: int, transit: StockCost) -> tuple[Goods, int]:
        """Return what arrives of a transfer, and how many units beyond what was sent."""
        sent = self.transfers.get(transfer_id)
        if sent is None:
            return Goods(), units
        goods = sent.take(units)
        if not sent.units:
            del self.transfers[transfer_id]
        # What is on its way is known one transfer at a time, so its sum is kept beside and not averaged.
        transit.goods.units -= goods.units
        transit.goods.uncosted_parts -= goods.uncosted_parts
        _add(transit.goods.values, goods.values, -1)
        transit.transferred.add(goods, -1)
        return goods, units - goods.units


def state_of(cost: SkuCost) -> dict[str, Any]:
    """Return what `cost_of` makes the same costs of again, as JSON."""
    return {
        "stocks": {warehouse: _stock_state(stock) for warehouse, stock in cost.stocks.items()},
        "transfers": {str(transfer_id): _goods_state(goods) for transfer_id, goods in cost.transfers.items()},
    }


def cost_of(state: Mapping[str, Any]) -> SkuCost:
    """Return the costs that `state_of` was called with."""
    return SkuCost(
        stocks={warehouse: _stock_of(stock) for warehouse, stock in state["stocks"].items()},
        transfers={UUID(transfer_id): Goods(*goods) for transfer_id, goods in state["transfers"].items()},
    )


_GOODS: Final = ("goods", "last")
_TOTALS: Final = ("received", "sold", "returned", "adjusted", "transferred")
_DAYS: Final = ("first_day", "day", "last_sold_on", "last_received_on")
_PLAIN: Final = ("owed", "unpriced_units", "unit_days", "value_days", "empty_days")


def _stock_state(stock: StockCost) -> dict[str, Any]:
    state: dict[str, Any] = {name: getattr(stock, name) for name in _PLAIN}
    state.update((name, _goods_state(getattr(stock, name))) for name in _GOODS)
    state.update((name, [getattr(stock, name).units, getattr(stock, name).values]) for name in _TOTALS)
    state.update((name, day.isoformat()) for name in _DAYS if (day := getattr(stock, name)) is not None)
    return state


def _stock_of(state: Mapping[str, Any]) -> StockCost:
    values: dict[str, Any] = {name: state[name] for name in _PLAIN}
    values.update((name, Goods(*state[name])) for name in _GOODS)
    values.update((name, Totals(*state[name])) for name in _TOTALS)
    values.update((name, date.fromisoformat(state[name])) for name in _DAYS if name in state)
    return StockCost(**values)


def _goods_state(goods: Goods) -> list[Any]:
    return [goods.units, goods.uncosted_parts, goods.values]


def _place(one: CostedMovement) -> tuple[datetime, int, UUID, int]:
    rank = _RANK_COUNTED if one.counted is not None else _RANKS.get(one.kind, _RANK_OTHERS)
    return (one.occurred_at, rank, one.event_id, one.leg)


def _add(values: Values, more: Mapping[str, int], times: int = 1) -> None:
    for currency, micros in more.items():
        values[currency] = values.get(currency, 0) + times * micros


def _share(amount: int, part: int, whole: int) -> int:
    """Return amount * part / whole, rounded half to even."""
    quotient, rest = divmod(amount * part, whole)
    twice = 2 * rest
    return quotient + (twice > whole or (twice == whole and quotient % 2 == 1))
