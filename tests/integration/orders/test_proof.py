"""A slice of a real shop's year through the orders service, and its books beside the file's."""

import csv
import lzma
from pathlib import Path
from uuid import UUID

import pytest

from bench.proof.comparison import Crowded, Proof, compare, require_no_others
from bench.proof.file import read_books
from bench.replay.facts import interpret
from bench.replay.matching import GoodsBack, match_cancellations
from bench.replay.payloads import order_body, receipt_body, return_body
from bench.replay.rows import SAMPLE_PATH, read_rows
from libs.common.events.base import Event
from libs.common.events.inventory import StockReserved
from libs.common.events.logistics import ShipmentDelivered, ShipmentDispatched
from libs.common.events.shapes import Allocation, SkuQuantity
from libs.common.ids import new_id
from tests.integration.orders.shop import NOW, Shop

DATASET = "slice"
# Customers who cancelled: most of the units of one, all of an invoice of another, one line of the third.
CUSTOMERS = frozenset({"15838", "12901", "17511", "14911", "15311", "13798"})
INVOICES_MAX = 16
UNEARN_A_PENNY = """
INSERT INTO ledger_transfers (order_id, step_id, fact, debit, credit, amount_minor, currency, booked_at)
SELECT order_id, step_id, 'unearned', credit, debit, 1, currency, booked_at
FROM ledger_transfers WHERE order_id = $1 AND fact = 'earned'
"""


@pytest.fixture(scope="module")
def sample_slice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the first invoices of some customers, and all that they cancelled."""
    path = tmp_path_factory.mktemp("slice") / "slice.csv"
    sales: set[str] = set()
    with lzma.open(SAMPLE_PATH, "rt", encoding="utf-8", newline="") as lines, path.open("w", newline="") as out:
        reader = csv.reader(lines)
        writer = csv.writer(out)
        writer.writerow(next(reader))
        for row in reader:
            number, customer = row[0], row[6]
            if customer not in CUSTOMERS:
                continue
            if not number.startswith("C") and number not in sales:
                if len(sales) == INVOICES_MAX:
                    continue
                sales.add(number)
            writer.writerow(row)
    return path


async def play(shop: Shop, path: Path) -> None:
    """Sell and take back what the file says: whole invoices are called off in time, all else is returned."""
    trading = interpret(read_rows(path))
    back = match_cancellations(trading.sales, trading.cancellations).goods_back
    assert back
    called_off = {part.sale for part in back if part.is_whole}
    orders: dict[str, UUID] = {}
    events: list[Event] = []
    for sale in trading.sales:
        response = await shop.post("/orders", order_body(DATASET, sale, is_faultless=True))
        order_id = orders[sale.invoice] = UUID(response.json()["id"])
        units: dict[str, int] = {}
        for line in sale.lines:
            units[line.sku] = units.get(line.sku, 0) + line.quantity
        held = [Allocation(warehouse="leeds", sku=sku, quantity=quantity) for sku, quantity in units.items()]
        events.append(StockReserved(order_id=order_id, allocations=held, decision_id=new_id()))
    for invoice in called_off:
        await shop.post(f"/orders/{orders[invoice]}/cancellation", {"reason": "as the data says"})
    await shop.tell(*events)
    await shop.pay()
    await shop.tell(*(parcel for invoice in orders if invoice not in called_off for parcel in sent(orders[invoice])))
    await shop.pay()
    for part in back:
        if part.sale not in called_off:
            await take_back(shop, orders[part.sale], part)
    await shop.pay()


def sent(order_id: UUID) -> list[Event]:
    parcel = new_id()
    dispatched = ShipmentDispatched(
        shipment_id=parcel,
        order_id=order_id,
        warehouse="leeds",
        lines=[SkuQuantity(sku="any", quantity=1)],
        dispatched_at=NOW,
        tracking_number="GULL-1",
    )
    return [dispatched, ShipmentDelivered(shipment_id=parcel, order_id=order_id, delivered_at=NOW)]


async def take_back(shop: Shop, order_id: UUID, part: GoodsBack) -> None:
    opened = await shop.post(f"/orders/{order_id}/returns", return_body(part))
    assert opened.status_code == 201, opened.text
    receipt = receipt_body(DATASET, part, warehouse="leeds")
    assert (await shop.post(f"/returns/{opened.json()['id']}/receipt", receipt)).status_code == 200


async def prove(shop: Shop, path: Path) -> Proof:
    async with shop.database.transaction() as transaction:
        return await compare(read_books(path), await transaction.driver(), dataset=DATASET)


async def test_every_invoice_ends_as_the_file_says_and_every_penny_is_there(shop: Shop, sample_slice: Path) -> None:
    await play(shop, sample_slice)

    proof = await prove(shop, sample_slice)

    assert proof.mismatches == ()
    assert proof.holds
    assert proof.orders == len(proof.books.invoices) == INVOICES_MAX
    assert proof.revenue_minor == proof.books.net_of_sales_minor > 0
    assert {"settled", "returned in part"} <= proof.by_outcome.keys()

    [(order_id, reference)] = await shop.fetch("SELECT id, reference FROM orders WHERE status = 'settled' LIMIT 1")
    for damage, what in (
        ("UPDATE order_lines SET quantity = quantity + 1 WHERE order_id = $1 AND line = 1", "units"),
        ("UPDATE payments SET captured_minor = captured_minor - 1 WHERE order_id = $1", "money kept"),
        (UNEARN_A_PENNY, "revenue in the ledger"),
        ("UPDATE orders SET reference = 'slice/1' WHERE id = $1", "orders"),
    ):
        await shop.fetch(damage, order_id)
        broken = await prove(shop, sample_slice)
        assert what in {one.what for one in broken.mismatches if one.invoice in {reference.partition("/")[2], "1"}}
        assert not broken.holds


async def test_begins_only_where_nobody_else_waits_for_goods(shop: Shop, sample_slice: Path) -> None:
    async def begin(dataset: str) -> None:
        async with shop.database.transaction() as transaction:
            await require_no_others(await transaction.driver(), dataset=dataset)

    sale = interpret(read_rows(sample_slice)).sales[0]
    await begin(DATASET)

    await shop.post("/orders", order_body(DATASET, sale, is_faultless=True))
    await begin(DATASET)

    with pytest.raises(Crowded, match="1 other orders are not over"):
        await begin("another")
