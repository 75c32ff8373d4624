"""
Writes new rows of one table at once, however many there are.

As arrays a handful shares a round trip with others; from a few hundred on COPY takes half of the time of arrays, on
either side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from libs.common.db import Transaction

_COPIED_ROWS_MIN: Final = 200


@dataclass(frozen=True, slots=True)
class NewRows:
    """A table, and the columns that its new rows bring along with the types of these."""

    table: str
    types: Mapping[str, str]
    _statement: str = field(init=False)

    def __post_init__(self) -> None:
        """Write the statement once."""
        columns = ", ".join(self.types)
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(self.types.values(), start=1))
        statement = f"INSERT INTO {self.table} ({columns}) SELECT * FROM unnest({arrays})"  # noqa: S608 - no input
        object.__setattr__(self, "_statement", statement)

    async def insert(self, transaction: Transaction, rows: Sequence[tuple[Any, ...]]) -> None:
        """
        Insert rows, each with a value for every column, in the order of the columns.

        A handful is written at the end, many while the caller goes on.
        """
        if len(rows) >= _COPIED_ROWS_MIN:
            await transaction.write(
                lambda driver: driver.copy_records_to_table(self.table, columns=tuple(self.types), records=rows),
                rows=len(rows),
            )
        elif rows:
            transaction.defer(self._statement, *zip(*rows, strict=True))
