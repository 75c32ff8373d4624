"""Source rows for tests: boring unless told otherwise."""

from datetime import datetime
from decimal import Decimal

from bench.replay.rows import SourceRow


def a_row(
    *,
    invoice: str = "550001",
    stock_code: str = "85123A",
    description: str = "OMINOUS MIRROR",
    quantity: int = 2,
    invoiced_at: str = "2011-05-03 10:15",
    unit_price: str = "2.55",
    customer: str = "17850",
    country: str = "United Kingdom",
) -> SourceRow:
    """Return one row of a sale."""
    return SourceRow(
        invoice,
        stock_code,
        description,
        quantity,
        datetime.fromisoformat(invoiced_at),
        Decimal(unit_price),
        customer,
        country,
    )
