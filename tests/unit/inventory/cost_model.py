"""
What stock costs, told a second time: exact fractions, one thing after the other, nothing shared with the service.

A shelf has units of known cost, with their value, and units of unknown cost. Whatever leaves takes the same share of
all three. It is as slow and as plain as the rules in `docs/costs.md`, and has no rounding at all.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

Money = dict[str, Fraction]
"""Minor units by currency."""


def pile() -> Money:
    return defaultdict(Fraction)


@dataclass
class Load:
    """Units and their value."""

    known: Fraction = Fraction(0)
    unknown: Fraction = Fraction(0)
    value: Money = field(default_factory=pile)

    @property
    def units(self) -> Fraction:
        return self.known + self.unknown

    def put(self, other: "Load") -> None:
        self.known += other.known
        self.unknown += other.unknown
        for currency, minor in other.value.items():
            self.value[currency] += minor

    def part(self, units: int) -> "Load":
        """Take out so many units, or all there are: the same share of everything."""
        share = min(Fraction(units) / self.units, Fraction(1)) if self.units else Fraction(0)
        taken = Load(self.known * share, self.unknown * share, pile())
        for currency, minor in self.value.items():
            taken.value[currency] = minor * share
            self.value[currency] = minor - minor * share
        self.known -= taken.known
        self.unknown -= taken.unknown
        return taken


@dataclass
class Shelf:
    """A SKU in one warehouse."""

    there: Load = field(default_factory=Load)
    owed: int = 0
    last_average: Money = field(default_factory=pile)
    received: Money = field(default_factory=pile)
    sold: Money = field(default_factory=pile)
    returned: Money = field(default_factory=pile)
    adjusted: Money = field(default_factory=pile)
    transferred: Money = field(default_factory=pile)

    @property
    def balance(self) -> Fraction:
        return self.there.units - self.owed

    def buy(self, units: int, unit_cost: int | None, currency: str | None) -> None:
        if unit_cost is None or currency is None:
            self._bring(self._at_average(units), self.received)
        else:
            self._bring(Load(Fraction(units), Fraction(0), {currency: Fraction(units * unit_cost)}), self.received)

    def sell(self, units: int) -> None:
        self._leave(units, self.sold, 1)

    def take_back(self, units: int) -> None:
        self._bring(self._at_average(units), self.returned)

    def adjust(self, units: int) -> None:
        if units < 0:
            self._leave(-units, self.adjusted, -1)
        else:
            self._bring(self._at_average(units), self.adjusted)

    def count(self, units: int) -> None:
        self.adjust(int(units - self.balance))

    def send(self, units: int) -> Load:
        """Return what goes; what was not there goes too, and nobody knows what it cost."""
        missing = units - min(Fraction(units), self.there.units)
        load = self._leave(units, self.transferred, -1)
        load.unknown += missing
        return load

    def bring_in(self, load: Load) -> None:
        self._bring(load, self.transferred)

    def bring_in_unsent(self, units: int) -> None:
        self.bring_in(self._at_average(units))

    def _at_average(self, units: int) -> Load:
        self._note_average(self.there)
        if not self.last_average:
            return Load(unknown=Fraction(units))
        return Load(Fraction(units), Fraction(0), {one: units * minor for one, minor in self.last_average.items()})

    def _note_average(self, load: Load) -> None:
        if load.known:
            self.last_average = {currency: minor / load.known for currency, minor in load.value.items()}

    def _bring(self, load: Load, book: Money) -> None:
        for currency, minor in load.value.items():
            book[currency] += minor
        if self.owed:
            units = min(Fraction(self.owed), load.units)
            covered = load.part(self.owed)
            self.owed -= int(units)
            self._note_average(covered)
            for currency, minor in covered.value.items():
                self.sold[currency] += minor
        self.there.put(load)

    def _leave(self, units: int, book: Money, sign: int) -> Load:
        self._note_average(self.there)
        self.owed += int(max(Fraction(0), units - self.there.units))
        load = self.there.part(units)
        for currency, minor in load.value.items():
            book[currency] += sign * minor
        return load


@dataclass
class CostModel:
    """A SKU in all warehouses, and in vans between them, by the number of the transfer."""

    shelves: dict[str, Shelf] = field(default_factory=lambda: defaultdict(Shelf))
    vans: dict[object, Load] = field(default_factory=lambda: defaultdict(Load))

    def dispatch(self, transfer: object, at: str, units: int) -> None:
        self.vans[transfer].put(self.shelves[at].send(units))

    def arrive(self, transfer: object, at: str, units: int) -> None:
        """Unload a van; what was never loaded comes at the average of where it arrives."""
        van, shelf = self.vans[transfer], self.shelves[at]
        beyond = int(max(Fraction(0), units - van.units))
        load = van.part(units)
        if beyond:
            load.put(shelf._at_average(beyond))  # noqa: SLF001 - the two are one model
        shelf.bring_in(load)

    @property
    def in_transit(self) -> Load:
        whole = Load()
        for van in self.vans.values():
            whole.put(Load(van.known, van.unknown, dict(van.value)))
        return whole
