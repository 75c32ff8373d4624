"""What an order says, in a few bytes: by them the same order is known again, by whichever way it comes."""

import hashlib
from typing import Final

from services.orders.api.quick_order import QuickOrder, content_of
from services.orders.api.schemas import PlaceOrderRequest

_HASH_BYTES: Final = 16


def content_hash(body: PlaceOrderRequest | QuickOrder) -> bytes:
    """
    Return a hash of what was read, not of what was written.

    Another order of fields is no other order, and a field that a later version adds makes no other order of an old one.
    """
    content = content_of(body) if isinstance(body, QuickOrder) else body.model_dump_json(exclude_defaults=True).encode()
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()
