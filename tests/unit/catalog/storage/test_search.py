import pytest

from services.catalog.storage.search import words_to_compare


class TestWordsToCompare:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("Raindeer LAMP", ["raindeer", "lamp"]),
            ("mug -christmas", ["mug"]),
            ("-christmas", []),
            # Hyphens within a word do not exclude.
            ("t-light holder", ["light", "holder"]),
            ("of a mug mug", ["mug"]),
            ("'; -- %", []),
            ("Äpfel", ["äpfel"]),
            (" ".join(f"word{number}" for number in range(20)), [f"word{number}" for number in range(8)]),
        ],
    )
    def test_are_the_wanted_ones_long_enough_to_have_a_shape(self, query: str, expected: list[str]) -> None:
        assert words_to_compare(query) == expected
