"""Reads the rows of an upload into request models, from NDJSON and from CSV alike."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from libs.common.errors import Invalid
from libs.common.http.ndjson import RowError, is_csv, read_csv, read_ndjson

Row = TypeVar("Row", bound=BaseModel)

_CODES: Final = {
    "missing": "missing-field",
    "extra_forbidden": "unknown-field",
    "json_invalid": "malformed-json",
}
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvForm:
    """Which columns a CSV file must and may have, and which of them are not texts."""

    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    booleans: frozenset[str] = frozenset()
    # Columns that begin so are gathered into a field of names and values: `attribute.colour` into `attributes`.
    gathered_prefix: str | None = None
    gathered_field: str = ""

    def knows(self, column: str) -> bool:
        """Answer whether a file may have this column."""
        prefix = self.gathered_prefix
        is_gathered = prefix is not None and column.startswith(prefix) and column != prefix
        return is_gathered or column in self.required or column in self.optional


PRODUCT_CSV: Final = CsvForm(
    required=frozenset({"sku", "title", "price_minor", "currency"}),
    optional=frozenset({"description", "category", "is_listed"}),
    numbers=frozenset({"price_minor"}),
    booleans=frozenset({"is_listed"}),
    gathered_prefix="attribute.",
    gathered_field="attributes",
)
CATEGORY_CSV: Final = CsvForm(required=frozenset({"code", "name"}), optional=frozenset({"parent"}))


async def read_rows(
    request: Request, model: type[Row], form: CsvForm, *, lines_max: int
) -> AsyncIterator[tuple[int, Row | RowError]]:
    """
    Yield the number of each row of the body and what it says, or what is wrong with it.

    :raises UnsupportedMediaType: if the body is neither NDJSON nor CSV.
    :raises Invalid: if a CSV file has no header, or one that lacks a column or has an unknown one.
    """
    if is_csv(request):
        async for number, row in _csv_rows(request, model, form, lines_max=lines_max):
            yield number, row
        return
    async for number, line in read_ndjson(request.stream(), lines_max=lines_max):
        if isinstance(line, RowError):
            yield number, line
            continue
        try:
            yield number, model.model_validate_json(line)
        except ValidationError as error:
            yield number, _row_error(number, error)


async def _csv_rows(
    request: Request, model: type[Row], form: CsvForm, *, lines_max: int
) -> AsyncIterator[tuple[int, Row | RowError]]:
    is_header_checked = False
    required = sorted(form.required)
    async for number, fields in read_csv(request.stream(), columns=required, lines_max=lines_max):
        if isinstance(fields, RowError):
            yield number, fields
            continue
        if not is_header_checked:
            _check_header(fields, form)
            is_header_checked = True
        try:
            yield number, model.model_validate(_from_csv(fields, form))
        except ValidationError as error:
            yield number, _row_error(number, error)


def _check_header(fields: Mapping[str, str], form: CsvForm) -> None:
    unknown = [column for column in fields if not form.knows(column)]
    if unknown:
        raise Invalid(f"The header has unknown columns: {', '.join(unknown)[:200]}.", field="header")


def _from_csv(fields: Mapping[str, str], form: CsvForm) -> dict[str, Any]:
    """Turn the texts of a row into what its JSON would hold; an empty field is one left out."""
    values: dict[str, Any] = {}
    gathered: dict[str, str] = {}
    for column, written in fields.items():
        value = written.strip()
        if not value:
            continue
        if form.gathered_prefix is not None and column.startswith(form.gathered_prefix):
            gathered[column.removeprefix(form.gathered_prefix)] = value
        elif column in form.numbers:
            values[column] = _number(value)
        elif column in form.booleans:
            values[column] = _BOOLEANS.get(value.lower(), value)
        else:
            values[column] = value
    if gathered:
        values[form.gathered_field] = gathered
    return values


def _number(text: str) -> int | str:
    """Read a whole number; what is none stays a text, which the model refuses by the field's name."""
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS_MAX
    return int(text) if is_number else text


def _row_error(number: int, error: ValidationError) -> RowError:
    """Name the first thing that is wrong with a row, never its value."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return RowError(
        row=number,
        code=_CODES.get(problem["type"], "invalid-value"),
        reason=problem["msg"],
        field=".".join(str(part) for part in problem["loc"]) or None,
    )
