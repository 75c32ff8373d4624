"""Rules are declared in TOML, and what is wrong with them is said before anything starts."""

from pathlib import Path

import pytest

from services.orders.clients.review_rules import InvalidReviewRules, read_rules, standard_rules
from services.orders.domain.review import Subject, Verdict, Window

ROOT = Path(__file__).parents[3]

EVERY_KIND = """
version = "2026-11"
hold_score = 50
refuse_score = 100

[[rules]]
name = "large"
test = "amount"
above_minor = 1_000_000
currencies = ["GBP"]
then = "hold"

[[rules]]
name = "often"
test = "velocity"
by = "customer"
window_hours = 1
above = 5
score = 40

[[rules]]
name = "much-there"
test = "velocity"
by = "address"
count = "amount"
window_hours = 24
above = 500_000
score = 30

[[rules]]
name = "bulk"
test = "quantity"
above_units = 100
then = "hold"

[[rules]]
name = "hoarded"
test = "hoarding"
window_hours = 168
above_units = 10
skus = ["CONSOLE"]
then = "refuse"

[[rules]]
name = "billed-elsewhere"
test = "billing-country"
score = 20

[[rules]]
name = "strange-currency"
test = "currency-country"
usual = { GB = ["GBP", "EUR"] }
score = 10

[[rules]]
name = "wrong-price"
test = "finding"
findings = ["price-mismatch"]
then = "hold"

[[rules]]
name = "first-and-large"
test = "first-order"
above_minor = 50_000
score = 30

[[rules]]
name = "blocked"
test = "blocked"
by = "email"
then = "refuse"

[[rules]]
name = "marketplace"
test = "every-order"
channels = ["marketplace"]
then = "approve"
"""


def declared(path: Path, text: str) -> Path:
    file = path / "rules.toml"
    file.write_text(text, encoding="utf-8")
    return file


class TestFile:
    def test_declares_every_kind_of_rule(self, tmp_path: Path) -> None:
        rules = read_rules(declared(tmp_path, EVERY_KIND))

        assert [rule.name for rule in rules.rules][:3] == ["large", "often", "much-there"]
        assert (rules.rules[0].limit, rules.rules[0].verdict, rules.rules[0].currencies) == (
            1_000_000,
            Verdict.HOLD,
            frozenset({"GBP"}),
        )
        assert rules.needs.blocked == {Subject.EMAIL}
        assert {type(window) for window in rules.needs.windows} == {Window}
        assert len(rules.needs.windows) == 3

    def test_has_a_version_that_changes_with_anything_in_it(self, tmp_path: Path) -> None:
        version = read_rules(declared(tmp_path, EVERY_KIND)).version

        assert version.startswith("2026-11/")
        assert read_rules(declared(tmp_path, EVERY_KIND + "\n# a comment\n")).version == version
        assert read_rules(declared(tmp_path, EVERY_KIND.replace("above = 5\n", "above = 6\n"))).version != version

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (("above_minor = 1_000_000", "above_minor = -1"), "rule 1 (large), above_minor: "),
            (("above_minor = 1_000_000", 'above_minor = "1"'), "rule 1 (large), above_minor: "),
            (('by = "customer"', 'by = "card"'), "rule 2 (often), by: "),
            (("window_hours = 1\n", ""), "rule 2 (often), window_hours: "),
            (('test = "quantity"', 'test = "colour"'), "rule 4 (bulk): "),
            (('name = "bulk"', 'name = "often"'), "rules: Value error, two rules have the name often"),
            (('name = "bulk"', 'name = "Bulk 1"'), "rule 4 (Bulk 1), name: "),
            (("score = 40\n", ""), "rule 2 (often): Value error, needs a score or a then"),
            (("score = 40\n", "score = 40\ncolour = 1\n"), "rule 2 (often), colour: "),
            (("refuse_score = 100", "refuse_score = 50"), "hold_score must be below refuse_score"),
            (("hold_score = 50\nrefuse_score = 100", ""), "a score changes nothing without"),
            (('GB = ["GBP", "EUR"]', 'England = ["GBP"]'), "rule 7 (strange-currency), usual"),
            (('version = "2026-11"', ""), "version: "),
            (("hold_score = 50", "hold_score = "), "is no TOML: "),
        ],
    )
    def test_is_refused_with_the_rule_and_the_field(
        self, tmp_path: Path, change: tuple[str, str], expected: str
    ) -> None:
        assert change[0] in EVERY_KIND

        with pytest.raises(InvalidReviewRules, match=r"rules\.toml: ") as refused:
            read_rules(declared(tmp_path, EVERY_KIND.replace(*change)))

        assert expected in str(refused.value)

    def test_names_everything_that_is_wrong_at_once(self, tmp_path: Path) -> None:
        text = EVERY_KIND.replace("above = 5\n", "above = -5\n").replace("above_units = 100", "above_units = -1")

        with pytest.raises(InvalidReviewRules) as refused:
            read_rules(declared(tmp_path, text))

        assert len(str(refused.value).splitlines()) == 2

    def test_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidReviewRules, match="cannot be read"):
            read_rules(tmp_path / "none.toml")
        (tmp_path / "rules.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidReviewRules, match="is no TOML"):
            read_rules(tmp_path / "rules.toml")

    def test_in_the_documentation_is_valid(self, tmp_path: Path) -> None:
        page = (ROOT / "docs" / "review.md").read_text("utf-8")
        example = page.partition("```toml\n")[2].partition("```")[0]

        assert read_rules(declared(tmp_path, example)).rules


class TestStandardRules:
    def test_are_two_limits_and_the_block_list(self) -> None:
        rules = standard_rules(amount_minor_max=5, units_of_sku_max=7)

        assert [(rule.name, rule.limit, rule.verdict) for rule in rules.rules] == [
            ("amount-above-limit", 5, Verdict.HOLD),
            ("quantity-above-limit", 7, Verdict.HOLD),
            ("customer-blocked", 0, Verdict.REFUSE),
            ("address-blocked", 0, Verdict.REFUSE),
            ("email-blocked", 0, Verdict.REFUSE),
        ]
        assert not rules.needs.counts
        assert rules.version.startswith("standard/")
