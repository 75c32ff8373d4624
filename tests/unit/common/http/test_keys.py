import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.common.clock import FixedClock
from libs.common.http.keys import KeyFileUnreadable, KeyStore, issue_key, main, revoke_keys
from libs.common.http.problems import Unauthenticated

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api-keys.json"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


def refuses(store: KeyStore, key: str) -> bool:
    try:
        store.authenticate(key)
    except Unauthenticated:
        return True
    return False


def accepts(store: KeyStore, key: str) -> bool:
    return not refuses(store, key)


class TestIssuedKey:
    def test_is_recognised_with_its_name_and_scopes(self, file: Path) -> None:
        key = issue_key(file, name="storefront", scopes=["orders:write"])

        principal = KeyStore(file).authenticate(key)

        assert principal.name == "storefront"
        assert principal.scopes == {"orders:write"}

    def test_has_a_form_that_scanners_can_find(self, file: Path) -> None:
        key = issue_key(file, name="storefront", scopes=[], environment="production")

        assert re.fullmatch(r"qk_production_[0-9A-Za-z]{8}_[0-9A-Za-z]{27}_[0-9A-Za-z]{6}", key)

    def test_is_not_in_the_file(self, file: Path) -> None:
        key = issue_key(file, name="storefront", scopes=[])

        assert key.split("_")[3] not in file.read_text()

    def test_is_readable_by_its_owner_only(self, file: Path) -> None:
        issue_key(file, name="storefront", scopes=[])

        assert file.stat().st_mode & 0o077 == 0
        assert file.with_name("api-keys.json.pepper").stat().st_mode & 0o077 == 0

    def test_stays_valid_beside_a_second_one_so_that_keys_can_be_rotated(self, file: Path) -> None:
        first = issue_key(file, name="storefront", scopes=[])
        second = issue_key(file, name="storefront", scopes=[])

        store = KeyStore(file)
        assert store.authenticate(first).name == store.authenticate(second).name == "storefront"


class TestRefusal:
    def test_of_a_key_with_one_letter_changed(self, file: Path) -> None:
        key = issue_key(file, name="storefront", scopes=[])
        position = len(key) // 2
        changed = key[:position] + ("a" if key[position] != "a" else "b") + key[position + 1 :]

        assert refuses(KeyStore(file), changed)

    def test_of_a_key_whose_checksum_is_wrong(self, file: Path) -> None:
        key = issue_key(file, name="storefront", scopes=[])

        assert refuses(KeyStore(file), key[:-1] + ("a" if key[-1] != "a" else "b"))

    def test_of_a_well_formed_key_that_was_issued_elsewhere(self, file: Path, tmp_path: Path) -> None:
        issue_key(file, name="storefront", scopes=[])
        foreign = issue_key(tmp_path / "other.json", name="storefront", scopes=["*"])

        assert refuses(KeyStore(file), foreign)

    def test_of_a_known_id_with_another_secret(self, file: Path, tmp_path: Path) -> None:
        issue_key(file, name="storefront", scopes=[])
        foreign = issue_key(tmp_path / "other.json", name="attacker", scopes=["*"])
        keys = json.loads(file.read_text())
        file.write_text(json.dumps({foreign.split("_")[2]: next(iter(keys.values()))}))

        assert refuses(KeyStore(file), foreign)

    @pytest.mark.parametrize("key", ["", "qk", "qk____", "qk_a_b_c_d_e", "é" * 40, "x" * 10_000, "qk_a_b_c_\x00"])
    def test_of_what_is_no_key(self, key: str, file: Path) -> None:
        issue_key(file, name="storefront", scopes=[])

        assert refuses(KeyStore(file), key)

    def test_from_the_moment_of_expiry(self, file: Path, clock: FixedClock) -> None:
        key = issue_key(file, name="storefront", scopes=[], expires_at=NOW + timedelta(days=1))
        store = KeyStore(file, clock=clock)

        clock.advance(timedelta(hours=23))
        assert accepts(store, key)
        clock.advance(timedelta(hours=1))
        assert refuses(store, key)


class TestReload:
    def test_sees_a_revocation_within_a_second(self, file: Path, clock: FixedClock) -> None:
        key = issue_key(file, name="storefront", scopes=[])
        store = KeyStore(file, clock=clock)
        store.authenticate(key)

        revoke_keys(file, name="storefront")

        assert accepts(store, key)
        clock.advance(timedelta(seconds=1))
        assert refuses(store, key)

    def test_looks_once_a_second_at_most(self, file: Path, clock: FixedClock) -> None:
        key = issue_key(file, name="storefront", scopes=[])
        store = KeyStore(file, clock=clock)
        clock.advance(timedelta(seconds=1))
        store.authenticate(key)

        revoke_keys(file, name="storefront")

        clock.advance(timedelta(seconds=0.5))
        assert accepts(store, key)
        clock.advance(timedelta(seconds=0.5))
        assert refuses(store, key)

    def test_sees_a_new_key(self, file: Path, clock: FixedClock) -> None:
        issue_key(file, name="storefront", scopes=[])
        store = KeyStore(file, clock=clock)

        key = issue_key(file, name="warehouse", scopes=[])
        clock.advance(timedelta(seconds=1))

        assert store.authenticate(key).name == "warehouse"

    def test_keeps_the_last_keys_when_the_file_is_damaged(self, file: Path, clock: FixedClock) -> None:
        key = issue_key(file, name="storefront", scopes=[])
        store = KeyStore(file, clock=clock)

        file.write_text("{")
        clock.advance(timedelta(seconds=1))

        assert accepts(store, key)

    def test_recovers_when_the_file_is_repaired(self, file: Path, clock: FixedClock) -> None:
        issue_key(file, name="storefront", scopes=[])
        whole = file.read_text()
        store = KeyStore(file, clock=clock)
        file.write_text("{")
        clock.advance(timedelta(seconds=1))
        refuses(store, issue_key(file.with_name("other.json"), name="x", scopes=[]))

        file.write_text(whole)
        key = issue_key(file, name="warehouse", scopes=[])
        clock.advance(timedelta(seconds=1))

        assert store.authenticate(key).name == "warehouse"


class TestCommandLine:
    def test_issue_prints_the_key_and_nothing_else(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status = main(["issue", "--file", str(file), "--name", "ops", "--scopes", "orders:read, stock:*"])

        key = capsys.readouterr().out.removesuffix("\n")
        assert status == 0
        assert KeyStore(file).authenticate(key).scopes == {"orders:read", "stock:*"}

    def test_issue_sets_the_expiry(self, file: Path, clock: FixedClock, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["issue", "--file", str(file), "--name", "ops", "--scopes", "*", "--expires-in-days", "2"]
        main(arguments, clock=clock)
        key = capsys.readouterr().out.strip()
        store = KeyStore(file, clock=clock)

        clock.advance(timedelta(days=3))

        assert refuses(store, key)

    def test_list_shows_no_secret(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        key = issue_key(file, name="ops", scopes=["*"])

        main(["list", "--file", str(file)])

        output = capsys.readouterr().out
        assert key.split("_")[2] in output
        assert key.split("_")[3] not in output

    def test_revoke_disables_one_key_by_its_id(self, file: Path) -> None:
        first = issue_key(file, name="ops", scopes=["*"])
        second = issue_key(file, name="ops", scopes=["*"])

        assert main(["revoke", "--file", str(file), "--key-id", first.split("_")[2]]) == 0

        store = KeyStore(file)
        assert refuses(store, first)
        assert accepts(store, second)

    def test_rescope_changes_what_the_keys_of_a_name_may_do(self, file: Path) -> None:
        keys = [issue_key(file, name="warehouse", scopes=["stock:*"]) for _ in range(2)]
        other = issue_key(file, name="ops", scopes=["*"])

        assert main(["rescope", "--file", str(file), "--name", "warehouse", "--scopes", "stock:read,stock:write"]) == 0

        store = KeyStore(file)
        assert [store.authenticate(key).scopes for key in keys] == [{"stock:read", "stock:write"}] * 2
        assert store.authenticate(other).scopes == {"*"}

    def test_rescope_fails_for_a_name_that_has_no_keys(self, file: Path) -> None:
        issue_key(file, name="ops", scopes=["*"])

        assert main(["rescope", "--file", str(file), "--name", "opps", "--scopes", "stock:read"]) == 1

    def test_says_which_command_makes_a_missing_file(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["list", "--file", str(file)]) == 1

        assert "keys issue --file" in capsys.readouterr().err


class TestKeyStore:
    def test_does_not_start_without_its_file(self, file: Path) -> None:
        with pytest.raises(KeyFileUnreadable):
            KeyStore(file)

    def test_does_not_start_with_a_file_that_has_unknown_fields(self, file: Path) -> None:
        issue_key(file, name="ops", scopes=["*"])
        keys = json.loads(file.read_text())
        next(iter(keys.values()))["disbled"] = True
        file.write_text(json.dumps(keys))

        with pytest.raises(KeyFileUnreadable, match="disbled"):
            KeyStore(file)
