"""The review rules as a shop declares them, in TOML, validated before anything starts."""

import hashlib
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from libs.common.http.fields import Currency
from libs.common.money import MINOR_MAX
from libs.common.settings import InvalidSettings
from services.orders.domain import review
from services.orders.domain.findings import FindingKind
from services.orders.domain.review import Counted, Rule, Rules, Subject, Verdict, Window

_SCORE_MAX: Final = 1_000_000
_RULES_MAX: Final = 200
_NAME: Final = r"^[a-z][a-z0-9-]{0,63}$"

Above = Annotated[int, Field(ge=0, le=MINOR_MAX, strict=True)]
Hours = Annotated[float, Field(gt=0, le=24 * 366)]
Name = Annotated[str, StringConstraints(pattern=_NAME)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class InvalidReviewRules(InvalidSettings):
    """The file cannot be used; the message has one line for each rule and field that is wrong."""

    def __init__(self, path: Path, *problems: str) -> None:
        """Name the file in every line."""
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _RuleSetting(_Declared):
    """What every rule has: a name, whom it concerns, and what follows."""

    name: Name
    score: int = Field(default=0, ge=-_SCORE_MAX, le=_SCORE_MAX, strict=True)
    then: Literal["approve", "hold", "refuse"] | None = None
    channels: frozenset[Code] = frozenset()
    countries: frozenset[Country] = frozenset()
    currencies: frozenset[Currency] = frozenset()

    @model_validator(mode="after")
    def _has_a_consequence(self) -> Self:
        if not self.score and self.then is None:
            message = "needs a score or a then, or it changes nothing"
            raise ValueError(message)
        return self

    def rule(self) -> Rule:
        """Return it as the domain knows it."""
        test, limit = self._test()
        return Rule(
            name=self.name,
            test=test,
            limit=limit,
            score=self.score,
            verdict=None if self.then is None else Verdict(self.then),
            channels=self.channels,
            countries=self.countries,
            currencies=self.currencies,
        )

    def _test(self) -> tuple[review.Test, int]:
        raise NotImplementedError


class AmountSetting(_RuleSetting):
    """The order's total is above an amount."""

    test: Literal["amount"]
    above_minor: Above

    def _test(self) -> tuple[review.Test, int]:
        return review.amount(), self.above_minor


class QuantitySetting(_RuleSetting):
    """The order has more units of one SKU."""

    test: Literal["quantity"]
    above_units: Above

    def _test(self) -> tuple[review.Test, int]:
        return review.quantity(), self.above_units


class VelocitySetting(_RuleSetting):
    """A customer, or an address, orders more often, or for more in one currency, within a time."""

    test: Literal["velocity"]
    by: Literal["customer", "address"]
    count: Literal["orders", "amount"] = "orders"
    window_hours: Hours
    above: Above

    def _test(self) -> tuple[review.Test, int]:
        window = Window(Counted(self.count), Subject(self.by), timedelta(hours=self.window_hours))
        return review.Velocity(window), self.above


class HoardingSetting(_RuleSetting):
    """A customer orders more units of one SKU within a time; of certain SKUs, if any are named."""

    test: Literal["hoarding"]
    window_hours: Hours
    above_units: Above
    skus: frozenset[Code] = frozenset()

    def _test(self) -> tuple[review.Test, int]:
        window = Window(Counted.UNITS, Subject.CUSTOMER, timedelta(hours=self.window_hours))
        return review.Hoarding(window, self.skus), self.above_units


class BillingCountrySetting(_RuleSetting):
    """The customer is billed in another country than the order goes to."""

    test: Literal["billing-country"]

    def _test(self) -> tuple[review.Test, int]:
        return review.billing_country(), 0


class CurrencyCountrySetting(_RuleSetting):
    """The currency is none of those that are usual where the order goes."""

    test: Literal["currency-country"]
    usual: dict[Country, frozenset[Currency]] = Field(min_length=1)

    def _test(self) -> tuple[review.Test, int]:
        return review.currency_of_country(self.usual), 0


class FindingSetting(_RuleSetting):
    """Another check found something when the order was received, such as a price that is not the catalog's."""

    test: Literal["finding"]
    findings: frozenset[FindingKind] = Field(min_length=1)

    def _test(self) -> tuple[review.Test, int]:
        return review.findings(self.findings), 0


class FirstOrderSetting(_RuleSetting):
    """It is the customer's first order, and above an amount if one is named."""

    test: Literal["first-order"]
    above_minor: Above | None = None

    def _test(self) -> tuple[review.Test, int]:
        return review.FirstOrder(), -1 if self.above_minor is None else self.above_minor


class BlockedSetting(_RuleSetting):
    """The customer, the address or the e-mail address is on the block list."""

    test: Literal["blocked"]
    by: Literal["customer", "address", "email"]

    def _test(self) -> tuple[review.Test, int]:
        return review.Blocked(Subject(self.by)), 0


class EveryOrderSetting(_RuleSetting):
    """Every order of the channels, countries and currencies that the rule names."""

    test: Literal["every-order"]

    def _test(self) -> tuple[review.Test, int]:
        return review.every_order(), 0


RuleSetting: TypeAlias = Annotated[
    AmountSetting
    | QuantitySetting
    | VelocitySetting
    | HoardingSetting
    | BillingCountrySetting
    | CurrencyCountrySetting
    | FindingSetting
    | FirstOrderSetting
    | BlockedSetting
    | EveryOrderSetting,
    Field(discriminator="test"),
]


class RulesSetting(_Declared):
    """A whole file."""

    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    hold_score: int | None = Field(default=None, ge=1, le=_SCORE_MAX, strict=True)
    refuse_score: int | None = Field(default=None, ge=1, le=_SCORE_MAX, strict=True)
    rules: tuple[RuleSetting, ...] = Field(max_length=_RULES_MAX)

    @field_validator("rules")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[RuleSetting, ...]) -> tuple[RuleSetting, ...]:
        names = [rule.name for rule in value]
        if twice := {name for name in names if names.count(name) > 1}:
            message = f"two rules have the name {', '.join(sorted(twice))}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _can_reach_what_scores_are_for(self) -> Self:
        if self.hold_score is None and self.refuse_score is None:
            unused = [rule.name for rule in self.rules if rule.score and rule.then is None]
            if unused:
                message = f"{', '.join(unused)}: a score changes nothing without hold_score or refuse_score"
                raise ValueError(message)
        if None not in {self.hold_score, self.refuse_score} and self.hold_score >= self.refuse_score:  # type: ignore[operator]
            message = "hold_score must be below refuse_score"
            raise ValueError(message)
        return self

    def to_rules(self) -> Rules:
        """Return them as the domain knows them; the version tells apart what differs in anything."""
        digest = hashlib.sha256(_canonical(self.model_dump()).encode()).hexdigest()[:8]
        return Rules(
            version=f"{self.version}/{digest}",
            rules=tuple(rule.rule() for rule in self.rules),
            hold_score=self.hold_score,
            refuse_score=self.refuse_score,
        )


def standard_rules(*, amount_minor_max: int, units_of_sku_max: int) -> Rules:
    """Return the rules of a shop that declares none: two limits, and its block list."""
    declared: list[dict[str, Any]] = [
        {"name": "amount-above-limit", "test": "amount", "above_minor": amount_minor_max, "then": "hold"},
        {"name": "quantity-above-limit", "test": "quantity", "above_units": units_of_sku_max, "then": "hold"},
        *(
            {"name": f"{one}-blocked", "test": "blocked", "by": one, "then": "refuse"}
            for one in ("customer", "address", "email")
        ),
    ]
    return RulesSetting.model_validate({"version": "standard", "rules": declared}).to_rules()


def read_rules(path: Path) -> Rules:
    """
    Read the rules of a shop from a file.

    :raises InvalidReviewRules: naming each rule and field that is wrong.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidReviewRules(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidReviewRules(path, f"is no TOML: {error}") from None
    try:
        return RulesSetting.model_validate(declared).to_rules()
    except ValidationError as error:
        problems = [_explain(problem["loc"], problem["msg"], declared) for problem in error.errors(include_url=False)]
        raise InvalidReviewRules(path, *problems) from None


def _explain(location: tuple[int | str, ...], message: str, declared: dict[str, Any]) -> str:
    if len(location) < 2 or location[0] != "rules" or not isinstance(location[1], int):  # noqa: PLR2004 - rules, number
        return f"{'.'.join(map(str, location)) or 'the file'}: {message}"
    number = location[1]
    rule = declared["rules"][number]
    name = rule.get("name") if isinstance(rule, dict) else None
    # Behind the number comes the kind of the rule, by which its fields were chosen.
    fields = location[3:]
    named = f"rule {number + 1} ({name})" if isinstance(name, str) else f"rule {number + 1}"
    return f"{', '.join((named, *(['.'.join(map(str, fields))] if fields else [])))}: {message}"


def _canonical(value: Any) -> str:
    match value:
        case dict():
            return f"{{{','.join(f'{key}:{_canonical(one)}' for key, one in sorted(value.items()))}}}"
        case frozenset() | set():
            return f"<{','.join(sorted(map(_canonical, value)))}>"
        case list() | tuple():
            return f"[{','.join(map(_canonical, value))}]"
        case _:
            return repr(value)
