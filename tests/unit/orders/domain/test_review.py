"""What the review rules make of orders."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from libs.common.events.shapes import Destination
from services.orders.domain.findings import Consequence, FindingKind, OrderFinding
from services.orders.domain.order import Address, NewOrder, OrderLine, ReviewInputs
from services.orders.domain.review import (
    Blocked,
    Counted,
    Finding,
    FirstOrder,
    History,
    Hoarding,
    Rule,
    Rules,
    Subject,
    Velocity,
    Verdict,
    Window,
    address_hash,
    amount,
    billing_country,
    currency_of_country,
    every_order,
    findings,
    quantity,
    review,
    review_batch,
)
from tests.unit.orders.domain.worlds import NOW, TOTAL_MINOR, an_order

HOUR = timedelta(hours=1)
BY_CUSTOMER = Window(Counted.ORDERS, Subject.CUSTOMER, HOUR)
AMOUNT = Window(Counted.AMOUNT, Subject.CUSTOMER, HOUR)
BY_ADDRESS = Window(Counted.ORDERS, Subject.ADDRESS, HOUR)
UNITS = Window(Counted.UNITS, Subject.CUSTOMER, HOUR)


def rules(*listed: Rule, hold_score: int | None = None, refuse_score: int | None = None) -> Rules:
    return Rules(version="test/1", rules=listed, hold_score=hold_score, refuse_score=refuse_score)


def an_order_of(number: int = 1, *, after: timedelta = timedelta(0), **changes: Any) -> NewOrder:
    order = an_order(placed_at=NOW + after)
    facts = {
        name: changes.pop(name) for name in ("customer_id", "currency", "channel", "destination") if name in changes
    }
    return structs.replace(order, id=UUID(int=number), facts=structs.replace(order.facts, **facts), **changes)


def a_finding(kind: FindingKind, consequence: Consequence = Consequence.ACCEPT) -> OrderFinding:
    return OrderFinding(kind=kind, line=1, sku="A", expected_minor=None, offered_minor=1, consequence=consequence)


class TestTests:
    @pytest.mark.parametrize(
        ("test", "measured"),
        [
            (amount(), TOTAL_MINOR),
            (quantity(), 3),
            (every_order(), 1),
            (billing_country(), 1),
            (currency_of_country({"GB": {"EUR"}}), 1),
            (currency_of_country({"GB": {"GBP", "EUR"}}), 0),
            (currency_of_country({"FR": {"EUR"}}), 0),
            (findings({"price-mismatch", "something-else"}), 1),
            (FirstOrder(), TOTAL_MINOR),
            (Blocked(Subject.EMAIL), 0),
            (Velocity(BY_CUSTOMER), 1),
            (Velocity(AMOUNT), TOTAL_MINOR),
            (Velocity(BY_ADDRESS), 0),
            (Hoarding(UNITS), 3),
            (Hoarding(UNITS, frozenset({"CRUNCHY-ARMCHAIR"})), 2),
            (Hoarding(UNITS, frozenset({"ELSE"})), 0),
        ],
    )
    def test_measure_the_order(self, test: Any, measured: int) -> None:
        order = an_order_of(
            review=ReviewInputs(billing_country="FR"),
            findings=(a_finding(FindingKind.PRICE_MISMATCH), a_finding(FindingKind.PRICE_UNKNOWN)),
        )

        assert test.measure(order, History()) == measured

    @pytest.mark.parametrize(
        ("test", "measured"),
        [
            (FirstOrder(), -1),
            (Blocked(Subject.EMAIL), 1),
            (Blocked(Subject.CUSTOMER), 0),
            (Velocity(BY_CUSTOMER), 5),
            (Velocity(AMOUNT), TOTAL_MINOR + 1_000),
            (Hoarding(UNITS), 12),
        ],
    )
    def test_measure_what_was_before(self, test: Any, measured: int) -> None:
        history = History(
            blocked=frozenset({Subject.EMAIL}),
            is_known=True,
            sums={BY_CUSTOMER: {"": 4}, AMOUNT: {"GBP": 1_000, "EUR": 9_000}, UNITS: {"CRUNCHY-ARMCHAIR": 10}},
        )

        assert test.measure(an_order_of(), history) == measured

    def test_do_not_ask_for_a_billing_country(self) -> None:
        assert billing_country().measure(an_order_of(), History()) == 0


HOLD = Rule(name="hold", test=every_order(), verdict=Verdict.HOLD)
REFUSE = Rule(name="refuse", test=every_order(), verdict=Verdict.REFUSE)
APPROVE = Rule(name="approve", test=every_order(), verdict=Verdict.APPROVE)


def scoring(name: str, score: int) -> Rule:
    return Rule(name=name, test=every_order(), score=score)


class TestVerdict:
    @pytest.mark.parametrize(
        ("listed", "verdict", "reasons"),
        [
            ([], Verdict.APPROVE, ()),
            ([HOLD], Verdict.HOLD, ("hold",)),
            ([HOLD, APPROVE], Verdict.APPROVE, ("approve", "hold")),
            ([HOLD, APPROVE, REFUSE], Verdict.REFUSE, ("refuse", "hold", "approve")),
            ([scoring("a", 49)], Verdict.APPROVE, ("a",)),
            ([scoring("a", 30), scoring("b", 20)], Verdict.HOLD, ("a", "b")),
            ([scoring("a", 60), scoring("trusted", -20)], Verdict.APPROVE, ("a", "trusted")),
            ([HOLD, scoring("a", 100)], Verdict.REFUSE, ("a", "hold")),
            ([APPROVE, scoring("a", 100)], Verdict.APPROVE, ("approve", "a")),
        ],
    )
    def test_follows_from_the_rules_that_count(
        self, listed: Sequence[Rule], verdict: Verdict, reasons: tuple[str, ...]
    ) -> None:
        found = review(an_order_of(), rules(*listed, hold_score=50, refuse_score=100))

        assert (found.verdict, found.reasons) == (verdict, reasons)
        assert found.score == sum(rule.score for rule in listed)

    def test_needs_more_than_the_limit(self) -> None:
        at_limit = Rule(name="amount", test=amount(), limit=TOTAL_MINOR, verdict=Verdict.HOLD)

        assert review(an_order_of(), rules(at_limit)).verdict is Verdict.APPROVE
        assert review(an_order_of(), rules(replace(at_limit, limit=TOTAL_MINOR - 1))).verdict is Verdict.HOLD

    @pytest.mark.parametrize(
        ("scope", "concerns"),
        [
            ({"channels": {"web"}, "countries": {"GB"}, "currencies": {"GBP"}}, True),
            ({"channels": {"till"}}, False),
            ({"countries": {"FR"}}, False),
            ({"currencies": {"EUR"}}, False),
        ],
    )
    def test_of_a_rule_is_for_the_orders_that_it_names(self, scope: dict[str, Any], *, concerns: bool) -> None:
        of: dict[str, Any] = {name: frozenset(names) for name, names in scope.items()}
        rule = replace(HOLD, **of)

        assert (review(an_order_of(), rules(rule)).verdict is Verdict.HOLD) == concerns

    def test_holds_for_what_another_check_wants_a_person_to_see(self) -> None:
        noted = a_finding(FindingKind.PRICE_UNKNOWN)
        wanted = a_finding(FindingKind.PRICE_MISMATCH, Consequence.HOLD)

        found = review(an_order_of(findings=(noted, wanted, wanted)), rules())

        assert (found.verdict, found.reasons) == (Verdict.HOLD, ("price-mismatch",))
        assert found.findings[0].measured == 2

    def test_heeds_what_a_model_found(self) -> None:
        found = review(an_order_of(), rules(hold_score=50), extra=[Finding("model:1", 70, 0, 70)])

        assert (found.verdict, found.reasons, found.score) == (Verdict.HOLD, ("model:1",), 70)


class TestBatch:
    def test_counts_each_order_for_those_after_it(self) -> None:
        often = Rule(name="often", test=Velocity(BY_CUSTOMER), limit=3, verdict=Verdict.HOLD)
        orders = [an_order_of(number) for number in range(1, 6)]
        other = an_order_of(9, customer_id="customer-8")

        found = review_batch([*orders, other], rules(often), {})

        assert [one.findings[0].measured for one in found] == [1, 2, 3, 4, 5, 1]
        assert [one.verdict.value for one in found] == ["approve"] * 3 + ["hold"] * 2 + ["approve"]

    def test_counts_only_what_was_placed_within_the_time(self) -> None:
        often = Rule(name="often", test=Velocity(BY_CUSTOMER), limit=1, verdict=Verdict.HOLD)
        orders = [an_order_of(1), an_order_of(2, after=HOUR), an_order_of(3, after=HOUR + timedelta(seconds=1))]

        assert [one.findings[0].measured for one in review_batch(orders, rules(often), {})] == [1, 1, 2]

    def test_counts_what_was_placed_a_moment_later_and_reviewed_before(self) -> None:
        often = Rule(name="often", test=Velocity(BY_CUSTOMER), limit=1, verdict=Verdict.HOLD)
        minute = timedelta(minutes=1)
        orders = [an_order_of(1, after=2 * minute), an_order_of(2, after=minute), an_order_of(3)]

        assert [one.findings[0].measured for one in review_batch(orders, rules(often), {})] == [1, 2, 2]

    def test_counts_units_only_if_the_customer_gets_them_but_every_attempt(self) -> None:
        hoarded = Rule(name="hoarded", test=Hoarding(UNITS), limit=4, verdict=Verdict.REFUSE)
        often = Rule(name="often", test=Velocity(BY_CUSTOMER), limit=99, score=1)
        many = tuple(structs.replace(line, quantity=3) for line in an_order().lines)
        orders = [an_order_of(1, lines=many), an_order_of(2, lines=many), an_order_of(3, lines=many[:1])]

        found = review_batch(orders, rules(hoarded, often), {})

        assert [(one.findings[0].measured, one.findings[1].measured) for one in found] == [(3, 1), (6, 2), (6, 3)]

    def test_knows_a_customer_from_the_order_before(self) -> None:
        first = Rule(name="first", test=FirstOrder(), limit=-1, verdict=Verdict.HOLD)

        found = review_batch([an_order_of(1), an_order_of(2)], rules(first), {})

        assert [one.verdict.value for one in found] == ["hold", "approve"]

    @given(
        customers=st.lists(st.sampled_from(["a", "b", "c"]), max_size=12),
        cuts=st.lists(st.integers(min_value=0, max_value=12), max_size=3),
    )
    def test_measures_the_same_however_orders_are_batched(self, customers: list[str], cuts: list[int]) -> None:
        often = rules(Rule(name="often", test=Velocity(BY_CUSTOMER), limit=2, verdict=Verdict.HOLD))
        orders = [an_order_of(number, customer_id=customer) for number, customer in enumerate(customers, start=1)]
        edges = sorted({0, len(orders), *(cut for cut in cuts if cut < len(orders))})
        measured, before = list[int](), dict[str, int]()
        for start, end in itertools.pairwise(edges):
            batch = orders[start:end]
            known = {
                order.id: History(sums={BY_CUSTOMER: {"": before.get(order.facts.customer_id, 0)}}) for order in batch
            }
            measured.extend(one.findings[0].measured for one in review_batch(batch, often, known))
            for order in batch:
                before[order.facts.customer_id] = before.get(order.facts.customer_id, 0) + 1

        assert measured == [one.findings[0].measured for one in review_batch(orders, often, {})]


class TestNeeds:
    def test_are_none_for_rules_about_the_order_alone(self) -> None:
        assert rules(Rule(name="a", test=amount(), score=1), HOLD).needs.are_none

    def test_are_what_all_rules_need(self) -> None:
        needs = rules(
            Rule(name="a", test=Velocity(BY_ADDRESS), score=1),
            Rule(name="b", test=Blocked(Subject.EMAIL), score=1),
            Rule(name="c", test=FirstOrder(), score=1),
        ).needs

        assert (set(needs.blocked), needs.is_known, set(needs.windows)) == ({Subject.EMAIL}, True, {BY_ADDRESS})
        assert (needs.counts_by(Subject.ADDRESS), needs.counts_by(Subject.CUSTOMER)) == (True, False)


class TestAddressHash:
    def test_is_one_however_the_address_is_written(self) -> None:
        written = Address(name="Ann", address_lines=("12 Mill Lane", "Flat 3"), city="Leeds", postal_code="LS1 4AP")
        other = Address(name="Bob", address_lines=("12, mill lane, flat 3",), city="LEEDS", postal_code="ls14ap")

        assert address_hash("GB", written) == address_hash("GB", other) is not None
        assert address_hash("FR", written) != address_hash("GB", written)
        assert address_hash("GB", structs.replace(written, address_lines=("13 Mill Lane",))) != address_hash(
            "GB", written
        )

    def test_needs_a_street(self) -> None:
        assert address_hash("GB", Address(name="Ann", city="Leeds", postal_code="LS1 4AP")) is None
        assert address_hash("GB", Address(address_lines=("--",))) is None


def test_lines_of_one_sku_count_together() -> None:
    lines = (
        OrderLine(line=1, sku="A", quantity=2, unit_price_minor=1),
        OrderLine(line=2, sku="A", quantity=2, unit_price_minor=1),
        OrderLine(line=3, sku="B", quantity=3, unit_price_minor=1),
    )

    assert Hoarding(UNITS).measure(an_order_of(lines=lines), History()) == 4
    assert an_order_of(destination=Destination(country="FR")).facts.destination.country == "FR"
