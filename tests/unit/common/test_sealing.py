import pytest
from cryptography.fernet import Fernet

from libs.common.sealing import Seal, SealBroken

SECRET = "whsec_bm90IGZvciBhbnlib2R5"  # pragma: allowlist secret - nobody's
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def seal_of(*keys: str) -> Seal:
    return Seal(lambda: keys)


class TestSeal:
    def test_gives_back_what_it_sealed_and_shows_none_of_it(self) -> None:
        stored = seal_of(NEW).seal(SECRET)

        assert SECRET not in stored
        assert seal_of(NEW).open(stored) == SECRET

    def test_leaves_texts_open_without_a_key_and_reads_those_ever_after(self) -> None:
        assert seal_of().seal(SECRET) == SECRET
        assert seal_of(NEW).open(SECRET) == SECRET

    def test_opens_under_every_key_and_seals_under_the_first(self) -> None:
        stored = seal_of(NEW, OLD).seal(SECRET)

        assert seal_of(NEW).open(stored) == SECRET
        assert seal_of(NEW, OLD).open(seal_of(OLD).seal(SECRET)) == SECRET
        with pytest.raises(SealBroken):
            seal_of(OLD).open(stored)

    def test_tells_what_is_to_be_sealed_anew(self) -> None:
        seal = seal_of(NEW, OLD)

        assert seal.is_current(seal.seal(SECRET))
        assert not seal.is_current(SECRET)
        assert not seal.is_current(seal_of(OLD).seal(SECRET))
        assert seal_of().is_current(SECRET)

    def test_learns_of_keys_that_somebody_else_seals_under(self) -> None:
        keys = [OLD]
        seal = Seal(lambda: keys)
        stored = seal_of(NEW).seal(SECRET)
        keys.insert(0, NEW)

        assert seal.open(stored) == SECRET

    def test_refuses_what_was_changed(self) -> None:
        stored = seal_of(NEW).seal(SECRET)
        changed = "A" if stored[40] != "A" else "B"

        with pytest.raises(SealBroken):
            seal_of(NEW).open(stored[:40] + changed + stored[41:])
