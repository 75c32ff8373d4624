"""The bundled sample, read once for all tests."""

import pytest

from bench.replay.facts import Trading, interpret
from bench.replay.rows import SAMPLE_PATH, SourceRow, read_rows
from bench.replay.timeline import Script, write_script


@pytest.fixture(scope="session")
def sample_rows() -> list[SourceRow]:
    return list(read_rows(SAMPLE_PATH))


@pytest.fixture(scope="session")
def sample(sample_rows: list[SourceRow]) -> Trading:
    return interpret(sample_rows)


@pytest.fixture(scope="session")
def script(sample: Trading) -> Script:
    return write_script(sample, dataset="sample")
