"""
Automatic review: declared rules, each of which measures an order and counts if it measures more than its limit.

Pure: what has to be known of the customer and the address (`History`) is looked up before, for a whole batch, and the
orders of one batch count for each other.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final, Protocol
from uuid import UUID

import msgspec

from services.orders.domain.findings import Consequence
from services.orders.domain.order import Address, NewOrder, units_by_sku


class Verdict(StrEnum):
    """What becomes of an order by the rules."""

    APPROVE = "approve"
    HOLD = "hold"
    REFUSE = "refuse"


class Subject(StrEnum):
    """Whose past counts, and who can be blocked."""

    CUSTOMER = "customer"
    ADDRESS = "address"
    EMAIL = "email"


class Counted(StrEnum):
    """What is added up of earlier orders."""

    ORDERS = "orders"
    AMOUNT = "amount"
    UNITS = "units"


@dataclass(frozen=True, slots=True)
class Window:
    """Something that is added up over the orders of a subject that were placed within `duration` before an order."""

    counted: Counted
    subject: Subject
    duration: timedelta


# By currency for amounts, by SKU for units; orders have the one key "".
Sums = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was known before an order; `is_known` tells whether the customer has had another order."""

    blocked: frozenset[Subject] = frozenset()
    is_known: bool = False
    sums: Mapping[Window, Sums] = field(default_factory=dict)


NO_HISTORY: Final = History()

# Orders that a customer places at once are reviewed one after the other, but not always in the order of their times.
AT_ONCE: Final = timedelta(minutes=1)

# What `str.isalnum` says no to: `\w` is that and the underscore.
_NEITHER_LETTER_NOR_DIGIT: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What rules have to know besides the order itself."""

    blocked: frozenset[Subject] = frozenset()
    is_known: bool = False
    windows: frozenset[Window] = frozenset()

    @property
    def are_none(self) -> bool:
        """Whether the order alone is enough."""
        return not (self.blocked or self.is_known or self.windows)

    @property
    def are_blocks_alone(self) -> bool:
        """Whether only the block list matters."""
        return bool(self.blocked) and not self.counts

    @property
    def counts(self) -> bool:
        """Whether earlier orders matter, so that two at the same time have to wait for each other."""
        return self.is_known or bool(self.windows)

    def counts_by(self, subject: Subject) -> bool:
        """Tell whether the earlier orders of such a subject are added up."""
        return any(window.subject is subject for window in self.windows)


class Test(Protocol):
    """What a rule looks at."""

    @property
    def needs(self) -> Needs:
        """What has to be looked up for it."""
        ...

    def measure(self, order: NewOrder, history: History) -> int:
        """Return what it finds: an amount, a number, or 1 for yes."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """A test of the order alone."""

    measured: Callable[[NewOrder], int]
    needs: Needs = Needs()

    def measure(self, order: NewOrder, _history: History) -> int:
        """Return what it finds (see `Test`)."""
        return self.measured(order)


def amount() -> Test:
    """Measure the order's total, in minor units."""
    return Plain(lambda order: order.facts.total_minor)


def quantity() -> Test:
    """Measure the units of the SKU that the order has most of."""
    return Plain(_most_units)


def _most_units(order: NewOrder) -> int:
    units: dict[str, int] = {}
    for line in order.lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    return max(units.values())


def every_order() -> Test:
    """Find every order, so that a rule can be about channels and countries alone."""
    return Plain(lambda _order: 1)


def billing_country() -> Test:
    """Tell whether the customer is billed in another country than the order goes to."""

    def differs(order: NewOrder) -> int:
        billed = order.review.billing_country
        return int(billed is not None and billed != order.facts.destination.country)

    return Plain(differs)


def currency_of_country(currencies: Mapping[str, Collection[str]]) -> Test:
    """Tell whether the currency is none of those that are used where the order goes; unknown countries use any."""

    def differs(order: NewOrder) -> int:
        usual = currencies.get(order.facts.destination.country)
        return int(usual is not None and order.facts.currency not in usual)

    return Plain(differs)


def findings(names: Collection[str]) -> Test:
    """Count what other checks found when the order was received, of these names."""
    return Plain(lambda order: sum(one.kind in names for one in order.findings))


@dataclass(frozen=True, slots=True)
class Velocity:
    """Add up the orders of a customer or an address, this one included."""

    window: Window

    @property
    def needs(self) -> Needs:
        """The sums before this order."""
        return Needs(windows=frozenset({self.window}))

    def measure(self, order: NewOrder, history: History) -> int:
        """Return the number of orders, or their amount in this order's currency (see `Test`)."""
        if subject_of(order, self.window.subject) is None:
            return 0
        return _at_most(self.window, order, history)


@dataclass(frozen=True, slots=True)
class Hoarding:
    """Add up the units of one SKU that a customer orders, this order included."""

    window: Window
    # All, if none are named.
    skus: frozenset[str] = frozenset()

    @property
    def needs(self) -> Needs:
        """The units before this order."""
        return Needs(windows=frozenset({self.window}))

    def measure(self, order: NewOrder, history: History) -> int:
        """Return the units of the SKU that there are most of (see `Test`)."""
        return _at_most(self.window, order, history, only=self.skus)


@dataclass(frozen=True, slots=True)
class FirstOrder:
    """Measure the amount of a customer's first order."""

    needs: Needs = Needs(is_known=True)

    def measure(self, order: NewOrder, history: History) -> int:
        """Return the total in minor units, -1 if it is not the first (see `Test`)."""
        return -1 if history.is_known else order.facts.total_minor


@dataclass(frozen=True, slots=True)
class Blocked:
    """Tell whether the customer, the address or the e-mail address is on the block list."""

    subject: Subject

    @property
    def needs(self) -> Needs:
        """What the list says."""
        return Needs(blocked=frozenset({self.subject}))

    def measure(self, _order: NewOrder, history: History) -> int:
        """Return 1 for yes (see `Test`)."""
        return int(self.subject in history.blocked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    Counts if its test measures more than `limit`: adds `score`, and decides by itself if it has a `verdict`.

    It concerns only orders of its channels, countries and currencies, where it names any.
    """

    name: str
    test: Test
    limit: int = 0
    score: int = 0
    verdict: Verdict | None = None
    channels: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    currencies: frozenset[str] = frozenset()

    def concerns(self, order: NewOrder) -> bool:
        """Tell whether the rule is about such orders."""
        facts = order.facts
        return (
            (not self.channels or facts.channel in self.channels)
            and (not self.countries or facts.destination.country in self.countries)
            and (not self.currencies or facts.currency in self.currencies)
        )


@dataclass(frozen=True, kw_only=True)
class Rules:
    """
    The rules of a shop; `version` names them in every decision that they make.

    Refusing comes before approving, approving before holding; what no rule decides alone is decided by the sum of the
    scores, against the two limits where there are any.
    """

    version: str
    rules: tuple[Rule, ...]
    hold_score: int | None = None
    refuse_score: int | None = None

    @cached_property
    def needs(self) -> Needs:
        """What has to be looked up for all of them."""
        wanted = [rule.test.needs for rule in self.rules]
        return Needs(
            blocked=frozenset[Subject]().union(*(one.blocked for one in wanted)),
            is_known=any(one.is_known for one in wanted),
            windows=frozenset[Window]().union(*(one.windows for one in wanted)),
        )


class Finding(msgspec.Struct, frozen=True):
    """What one rule measured; it counts if that is above the limit."""

    rule: str
    measured: int
    limit: int
    score: int = 0
    verdict: Verdict | None = None

    @property
    def counts(self) -> bool:
        """Whether it says anything against, or for, the order."""
        return self.measured > self.limit


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules make of an order; `reasons` are the rules that led there, those that decided first."""

    verdict: Verdict
    score: int
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]


def review(order: NewOrder, rules: Rules, history: History = NO_HISTORY, extra: Iterable[Finding] = ()) -> Review:
    """Return what the rules make of an order; `extra` is what others than the rules have found."""
    found = tuple(
        Finding(rule.name, rule.test.measure(order, history), rule.limit, rule.score, rule.verdict)
        for rule in rules.rules
        if rule.concerns(order)
    )
    if order.findings or extra:
        found = (*found, *_noted(order), *extra)
    counting = [one for one in found if one.counts]
    score = sum(one.score for one in counting)
    verdict, deciding = _decide(counting, score, rules)
    reasons = [one.rule for one in deciding]
    reasons.extend(one.rule for one in counting if one not in deciding)
    return Review(verdict=verdict, score=score, reasons=tuple(reasons), findings=found)


def review_batch(
    orders: Sequence[NewOrder],
    rules: Rules,
    histories: Mapping[UUID, History],
    extra: Mapping[UUID, Sequence[Finding]] | None = None,
) -> list[Review]:
    """Review orders that are placed together: each counts for those after it as if it had been placed before."""
    needs = rules.needs
    earlier: dict[tuple[Subject, str], list[tuple[NewOrder, Review]]] = {}
    reviews = []
    for order in orders:
        history = histories.get(order.id, NO_HISTORY)
        if needs.counts:
            history = _with_batch(order, history, needs, earlier)
        one = review(order, rules, history, () if extra is None else extra.get(order.id, ()))
        if needs.counts:
            for subject in (Subject.CUSTOMER, Subject.ADDRESS):
                if (name := subject_of(order, subject)) is not None:
                    earlier.setdefault((subject, name), []).append((order, one))
        reviews.append(one)
    return reviews


def subject_of(order: NewOrder, subject: Subject) -> str | None:
    """Return the name under which a subject of the order is counted and blocked."""
    match subject:
        case Subject.CUSTOMER:
            return order.facts.customer_id
        case Subject.ADDRESS:
            return address_hash(order.facts.destination.country, order.address)
        case Subject.EMAIL:
            return order.review.email_hash


def address_hash(country: str, address: Address) -> str | None:
    """
    Return the SHA-256 of an address in hexadecimal digits, None if it names no street.

    Letters and digits alone count, whatever their case: one address is one however it is written; whose name is on the
    door does not count.
    """
    parts = [country, address.postal_code or "", address.city or "", "".join(address.address_lines)]
    written = [_NEITHER_LETTER_NOR_DIGIT.sub("", part.casefold()) for part in parts]
    if not written[-1]:
        return None
    return hashlib.sha256("\n".join(written).encode()).hexdigest()


def email_hash(email: str) -> str:
    """Return the SHA-256 of an e-mail address in lower case, in hexadecimal digits."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def _noted(order: NewOrder) -> list[Finding]:
    """Return what other checks found that by itself wants a person to look."""
    kinds = Counter(one.kind for one in order.findings if one.consequence is Consequence.HOLD)
    return [Finding(kind, times, 0, verdict=Verdict.HOLD) for kind, times in kinds.items()]


def _decide(counting: Sequence[Finding], score: int, rules: Rules) -> tuple[Verdict, Sequence[Finding]]:
    scoring = [one for one in counting if one.score]
    if refusing := _of(Verdict.REFUSE, counting):
        return Verdict.REFUSE, refusing
    if approving := _of(Verdict.APPROVE, counting):
        return Verdict.APPROVE, approving
    if rules.refuse_score is not None and score >= rules.refuse_score:
        return Verdict.REFUSE, scoring
    if holding := _of(Verdict.HOLD, counting):
        return Verdict.HOLD, holding
    if rules.hold_score is not None and score >= rules.hold_score:
        return Verdict.HOLD, scoring
    return Verdict.APPROVE, ()


def _of(verdict: Verdict, counting: Sequence[Finding]) -> list[Finding]:
    return [one for one in counting if one.verdict is verdict]


def _at_most(window: Window, order: NewOrder, history: History, *, only: Collection[str] = ()) -> int:
    own = _own(window.counted, order)
    before = history.sums.get(window, {})
    return max((before.get(key, 0) + value for key, value in own.items() if not only or key in only), default=0)


def _own(counted: Counted, order: NewOrder) -> dict[str, int]:
    """Return what an order itself adds to a sum, by the keys of `Sums`."""
    match counted:
        case Counted.ORDERS:
            return {"": 1}
        case Counted.AMOUNT:
            return {order.facts.currency: order.facts.total_minor}
        case Counted.UNITS:
            return {units.sku: units.quantity for units in units_by_sku(order.lines)}


def _with_batch(
    order: NewOrder,
    history: History,
    needs: Needs,
    earlier: Mapping[tuple[Subject, str], Sequence[tuple[NewOrder, Review]]],
) -> History:
    """Add the orders of the same batch that come before this one."""
    sums = {window: dict(history.sums.get(window, {})) for window in needs.windows}
    for window, found in sums.items():
        name = subject_of(order, window.subject)
        for other, verdict in earlier.get((window.subject, name), ()) if name is not None else ():
            if is_counted(window, of=other.facts.placed_at, before=order.facts.placed_at, verdict=verdict.verdict):
                for key, value in _own(window.counted, other).items():
                    found[key] = found.get(key, 0) + value
    by_customer = earlier.get((Subject.CUSTOMER, order.facts.customer_id), ())
    is_known = history.is_known or any(one.verdict is not Verdict.REFUSE for _, one in by_customer)
    return History(blocked=history.blocked, is_known=is_known, sums=sums)


def is_counted(window: Window, *, of: datetime, before: datetime, verdict: Verdict) -> bool:
    """Tell whether an order counts for another: every attempt does, but units only if the customer gets them."""
    is_had = window.counted is not Counted.UNITS or verdict is not Verdict.REFUSE
    return is_had and before - window.duration < of <= before + AT_ONCE
