"""The matrix is whole: every row is injected, or named where it is tested, or says why not."""

import re

import pytest

from deploy.local.environment import REPOSITORY
from services.catalog.bootstrap import SERVICE as CATALOG
from services.inventory.bootstrap import SERVICE as INVENTORY
from services.logistics.bootstrap import SERVICE as LOGISTICS
from services.orders.bootstrap import SERVICE as ORDERS
from services.recommender.bootstrap import SERVICE as RECOMMENDER
from tests.faults.checker import READERS
from tests.faults.plan import ROUNDS
from tests.faults.rows import ROWS

DOCUMENT = REPOSITORY / "docs" / "reliability.md"
FAULTS = [f"F{number}" for number in range(1, 71)]
ROW = re.compile(r"^\| (?P<fault>F\d+) \| (?P<title>[^|]+) \| (?P<how>[^|]+) \|(?P<notes>[^|]*)\|$", re.MULTILINE)
# Tables of other sections may name faults too.
MATRIX = DOCUMENT.read_text("utf-8").split("\n## The matrix\n")[1].split("\n## ")[0]
DOCUMENTED = {found["fault"]: found for found in ROW.finditer(MATRIX)}


def test_every_fault_has_one_row_in_the_document() -> None:
    assert sorted(found["fault"] for found in ROW.finditer(MATRIX)) == sorted(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_document_says_how_a_fault_is_injected(fault: str) -> None:
    found = DOCUMENTED[fault]
    is_injected = found["how"].strip().startswith("faults")
    assert is_injected == (fault in ROWS)
    for file in re.findall(r"`(tests/[^`]+)`", found["how"] + found["notes"]):
        assert (REPOSITORY / file).exists(), file
    if not is_injected and "tests/" not in found["how"] and "make abuse" not in found["how"]:
        assert found["notes"].strip(), "why not?"


def test_every_row_has_its_round() -> None:
    planned = [fault for faults in ROUNDS for fault in faults]
    assert sorted(planned) == sorted(ROWS)


def test_the_checker_knows_every_group() -> None:
    groups = {group for service in (CATALOG, INVENTORY, LOGISTICS, ORDERS, RECOMMENDER) for group in service.groups}
    assert set(READERS) == groups
