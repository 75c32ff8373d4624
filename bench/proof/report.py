"""The proof as tables."""

from rich.console import Console
from rich.table import Table

from bench.proof.comparison import Proof

_SHOWN_MAX = 50


def print_proof(console: Console, proof: Proof) -> None:
    """Show the sums, and every mismatch; a proof has none."""
    books = proof.books
    sums = Table(title="Revenue, from the file alone and from the ledger", title_justify="left", show_edge=False)
    sums.add_column("")
    sums.add_column("GBP", justify="right")
    for name, minor in (
        ("file: sold", books.sold_minor),
        ("file: cancelled", -books.cancelled_minor),
        ("file: net", books.net_minor),
        ("file: cancelled, but bought in no invoice of it", books.unmatched_minor),
        ("file: cancelled at another price than bought at", books.price_difference_minor),
        ("file: net of what was taken back of its sales", books.net_of_sales_minor),
        ("orders: revenue less refunds, in the ledger", proof.revenue_minor),
        ("difference", proof.revenue_minor - books.net_of_sales_minor),
    ):
        sums.add_row(name, _pounds(minor))
    console.print(sums)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(proof.by_outcome.items()))
    console.print(f"{len(books.invoices):,} invoices, {proof.orders:,} orders: {outcomes}", highlight=False)
    table = Table(title=f"Mismatches: {len(proof.mismatches):,}", title_justify="left", show_edge=False)
    for heading in ("invoice", "what", "file", "orders"):
        table.add_column(heading)
    for one in proof.mismatches[:_SHOWN_MAX]:
        table.add_row(one.invoice, one.what, str(one.file), str(one.orders))
    console.print(table)


def _pounds(minor: int) -> str:
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100:,}.{abs(minor) % 100:02d}"
