"""Which reports of warehouses can be true at all, whatever the stock."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, Self

from libs.common.currencies import MINOR_DIGITS
from libs.common.errors import Invalid
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsCounted,
    GoodsExpected,
    GoodsPicked,
    GoodsReceived,
    GoodsWrittenOff,
    TransferDispatched,
    TransferReceived,
    WarehouseReport,
)
from libs.common.money import MINOR_MAX

# Far above any real delivery, and small enough that no sum of them overflows.
UNITS_MAX: Final = 1_000_000_000
SKU_CHARACTERS_MAX: Final = 128
CODE_CHARACTERS_MAX: Final = 64
TEXT_CHARACTERS_MAX: Final = 200
SEQUENCE_MAX: Final = 2**53 - 1
# Clocks of warehouses are wrong by hours; by more than a day, the time is a mistake.
_FUTURE_MAX: Final = timedelta(days=1)
# Nothing that expires is kept for longer, before or after.
_EXPIRY_MAX: Final = timedelta(days=50 * 366)
# No supplier says today what comes in six years.
_EXPECTED_MAX: Final = timedelta(days=5 * 366)
_DAYS_PER_YEAR: Final = 365.25


class InvalidStockEvent(Invalid):
    """A warehouse reports what cannot be; `field` says where."""

    code: ClassVar[str] = "invalid-stock-event"


class UnknownWarehouse(InvalidStockEvent):
    """A report names a warehouse that is not registered."""

    code: ClassVar[str] = "unknown-warehouse"


class UnknownSku(InvalidStockEvent):
    """A report names a SKU that the catalog does not know, in a shop where all are in it."""

    code: ClassVar[str] = "unknown-sku"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausibility:
    """
    What reports are checked against besides themselves: the registered warehouses and the time.

    `is_sku` tells whether there is a SKU; without it, whatever is reported is one.
    """

    warehouses: Collection[str]
    age_years_max: int
    earliest: datetime
    latest: datetime
    is_sku: Callable[[str], bool] | None = None

    @classmethod
    def at(
        cls,
        now: datetime,
        *,
        warehouses: Collection[str],
        age_years_max: int,
        is_sku: Callable[[str], bool] | None = None,
    ) -> Self:
        """Return what is plausible at `now`."""
        return cls(
            is_sku=is_sku,
            warehouses=warehouses,
            age_years_max=age_years_max,
            earliest=now - timedelta(days=age_years_max * _DAYS_PER_YEAR),
            latest=now + _FUTURE_MAX,
        )


def check_report(report: WarehouseReport, plausibility: Plausibility) -> None:
    """
    Check everything about a report that does not depend on the stock.

    :raises InvalidStockEvent: naming the field.
    """
    _check_text("sku", report.sku, SKU_CHARACTERS_MAX)
    if plausibility.is_sku is not None and not plausibility.is_sku(report.sku):
        raise UnknownSku("The catalog has no such SKU.", field="sku")
    _check_warehouse("warehouse", report.warehouse, plausibility)
    _check_time(report.occurred_at, plausibility)
    if report.sequence is not None:
        _check_range("sequence", report.sequence, 1, SEQUENCE_MAX)
    _check_optional_text("reference", report.reference)
    if isinstance(report, GoodsExpected) and report.reference is None:
        raise InvalidStockEvent("It names the document under which the goods will be received.", field="reference")
    _check_optional_text("lot", report.lot, CODE_CHARACTERS_MAX)
    _check_own(report, plausibility)


def _check_own(report: WarehouseReport, plausibility: Plausibility) -> None:
    """Check what only reports of this type say."""
    match report:
        case GoodsReceived():
            _check_range("quantity", report.quantity, 1, UNITS_MAX)
            _check_cost(report)
            _check_expiry(report)
        case GoodsExpected():
            _check_range("quantity", report.quantity, 0, UNITS_MAX)
            _check_expected(report.expected_at, plausibility)
        case GoodsWrittenOff():
            _check_range("quantity", report.quantity, 1, UNITS_MAX)
            _check_text("reason", report.reason, TEXT_CHARACTERS_MAX)
        case GoodsPicked() | TransferReceived():
            _check_range("quantity", report.quantity, 1, UNITS_MAX)
        case TransferDispatched():
            _check_range("quantity", report.quantity, 1, UNITS_MAX)
            _check_warehouse("destination", report.destination, plausibility)
            _check_expected(report.expected_at, plausibility)
            if report.destination == report.warehouse:
                raise InvalidStockEvent("A transfer goes to another warehouse.", field="destination")
        case GoodsAdjusted():
            _check_range("delta", report.delta, -UNITS_MAX, UNITS_MAX)
            if report.delta == 0:
                raise InvalidStockEvent("An adjustment changes something: delta is not 0.", field="delta")
            _check_text("reason", report.reason, TEXT_CHARACTERS_MAX)
        case GoodsCounted():
            _check_range("counted", report.counted, 0, UNITS_MAX)
            _check_optional_text("reason", report.reason)
            _check_optional_text("counted_by", report.counted_by)
        case _:
            raise InvalidStockEvent("Reports of this type are not understood.", field="type")


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidStockEvent(f"It must be from {least} to {most}.", field=name)


def _check_text(name: str, text: str, characters_max: int) -> None:
    if not 0 < len(text) <= characters_max:
        raise InvalidStockEvent(f"It must have 1 to {characters_max} characters.", field=name)
    if not text.isprintable() or text != text.strip():
        raise InvalidStockEvent("It must be printable text without spaces at its ends.", field=name)


def _check_optional_text(name: str, text: str | None, characters_max: int = TEXT_CHARACTERS_MAX) -> None:
    if text is not None:
        _check_text(name, text, characters_max)


def _check_warehouse(name: str, code: str, plausibility: Plausibility) -> None:
    if code not in plausibility.warehouses:
        _check_text(name, code, CODE_CHARACTERS_MAX)
        raise UnknownWarehouse("No warehouse is registered under this code.", field=name)


def _check_time(occurred_at: datetime, plausibility: Plausibility) -> None:
    if occurred_at.tzinfo is None:
        raise InvalidStockEvent("The time needs an offset from UTC.", field="occurred_at")
    if occurred_at < plausibility.earliest:
        raise InvalidStockEvent(f"The time is more than {plausibility.age_years_max} years ago.", field="occurred_at")
    if occurred_at > plausibility.latest:
        raise InvalidStockEvent("The time is more than a day in the future.", field="occurred_at")


def _check_expected(expected_at: datetime | None, plausibility: Plausibility) -> None:
    if expected_at is None:
        return
    if expected_at.tzinfo is None:
        raise InvalidStockEvent("The time needs an offset from UTC.", field="expected_at")
    if not plausibility.earliest <= expected_at <= plausibility.latest + _EXPECTED_MAX:
        raise InvalidStockEvent("The time is years off.", field="expected_at")


def _check_cost(report: GoodsReceived) -> None:
    if (report.unit_cost_minor is None) != (report.currency is None):
        missing = "currency" if report.currency is None else "unit_cost_minor"
        raise InvalidStockEvent("A cost needs its amount and its currency.", field=missing)
    if report.unit_cost_minor is not None:
        _check_range("unit_cost_minor", report.unit_cost_minor, 0, MINOR_MAX)
    if report.currency is not None and report.currency not in MINOR_DIGITS:
        raise InvalidStockEvent("It must be an ISO 4217 code such as GBP.", field="currency")


def _check_expiry(report: GoodsReceived) -> None:
    if report.expires_on is None:
        return
    if report.lot is None:
        raise InvalidStockEvent("Units that expire belong to a lot.", field="lot")
    if abs(report.expires_on - report.occurred_at.date()) > _EXPIRY_MAX:
        raise InvalidStockEvent("It must be within 50 years of when the units arrived.", field="expires_on")
