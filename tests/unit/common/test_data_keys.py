"""The file of the data keys: made once, its keys of secrets changed, never readable by others, never half written."""

import runpy
import sys
from pathlib import Path

import pytest

from libs.common import data_keys
from libs.common.data_keys import DataKeys, DataKeysUnreadable, main
from libs.common.sealing import SealBroken


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "keys" / "data-keys.json"
    assert main(["create", "--file", str(found)]) == 0
    return found


def run(command: str, file: Path) -> int:
    return main([command, "--file", str(file)])


class TestCommands:
    def test_make_the_keys_once(self, file: Path) -> None:
        before = file.read_bytes()

        assert run("create", file) == 0
        assert file.read_bytes() == before
        assert file.stat().st_mode & 0o777 == 0o600

    def test_change_the_key_of_secrets_and_leave_pseudonyms_alone(self, file: Path) -> None:
        before = DataKeys.of(file)
        stored = before.seal.seal("a secret")

        assert run("add-secret", file) == 0
        after = DataKeys.of(file)
        assert after.pseudonyms.of("ada") == before.pseudonyms.of("ada")
        assert after.seal.open(stored) == "a secret"
        assert not after.seal.is_current(stored)

        assert run("drop-secrets", file) == 0
        assert DataKeys.of(file).seal.open(after.seal.seal("another")) == "another"
        with pytest.raises(SealBroken):
            DataKeys.of(file).seal.open(stored)
        assert file.stat().st_mode & 0o777 == 0o600
        assert list(file.parent.iterdir()) == [file]

    def test_are_those_of_the_module_as_a_program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = tmp_path / "data-keys.json"
        monkeypatch.setattr(sys, "argv", ["data_keys", "create", "--file", str(found)])

        with pytest.raises(SystemExit) as ended:
            runpy.run_path(data_keys.__file__, run_name="__main__")

        assert ended.value.code == 0
        assert DataKeys.of(found).seal.seal("a secret") != "a secret"

    def test_refuse_a_file_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("add-secret", tmp_path / "none.json") == 1
        assert "create" in capsys.readouterr().err


class TestReading:
    @pytest.mark.parametrize(
        "content",
        [
            "{",
            '{"pseudonyms": "?"}',
            '{"pseudonyms": "AAAA"}',
            '{"pseudonyms": "' + "A" * 44 + '", "secrets": ["short"]}',
            '{"pseudonyms": "' + "A" * 44 + '", "others": []}',
        ],
    )
    def test_refuses_what_is_damaged(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / "data-keys.json"
        file.write_text(content, "utf-8")

        with pytest.raises(DataKeysUnreadable):
            DataKeys.of(file)

    def test_takes_a_file_from_before_there_were_keys_of_secrets(self, tmp_path: Path) -> None:
        file = tmp_path / "data-keys.json"
        file.write_text('{"pseudonyms": "' + "A" * 44 + '"}', "utf-8")

        assert DataKeys.of(file).seal.seal("a secret") == "a secret"

    def test_seals_nothing_without_a_file(self) -> None:
        assert DataKeys.of(None).seal.seal("a secret") == "a secret"
