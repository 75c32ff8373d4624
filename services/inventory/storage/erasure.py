"""Erasing where the orders of a person went; what was held and shipped for them stays in the ledger."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.common.db import Transaction
from libs.common.erasure import affected, erase_decisions

_RESERVATIONS: Final = """
UPDATE reservations SET latitude = NULL, longitude = NULL
WHERE order_id = ANY($1::uuid[]) AND num_nonnulls(latitude, longitude) > 0
"""


async def erase_destinations(transaction: Transaction, order_ids: Sequence[UUID]) -> int:
    """Forget where orders went; return how many rows said so."""
    driver = await transaction.driver()
    reservations = affected(await driver.execute(_RESERVATIONS, list(order_ids)))
    return reservations + await erase_decisions(transaction, [f"order:{one}" for one in order_ids])
