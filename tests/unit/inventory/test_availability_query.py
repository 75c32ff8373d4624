"""Which SKUs a query asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from libs.common.errors import Invalid
from services.inventory.api.availability import SKUS_MAX, skus_of

PIECES = [b"sku", b"sku=A", b"sku=", b"=", b"&", b"a", b"%41", b"%", b"+", b";", b"\xe9", b"%C3%A9", b"?"]


def asking(query: bytes) -> Request:
    return Request({"type": "http", "query_string": query, "headers": []})


@given(query=st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_asks_for_what_it_says_however_it_is_written(query: bytes) -> None:
    meant = asking(query).query_params.getlist("sku")

    if meant and all(meant):
        assert skus_of(asking(query)) == meant
    else:
        with pytest.raises(Invalid):
            skus_of(asking(query))


def test_asks_for_so_many_at_most() -> None:
    assert len(skus_of(asking(b"&".join([b"sku=A"] * SKUS_MAX)))) == SKUS_MAX

    with pytest.raises(Invalid):
        skus_of(asking(b"&".join([b"sku=A"] * (SKUS_MAX + 1))))
