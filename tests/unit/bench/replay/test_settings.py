"""What the replay needs to be told, and how it says so."""

from pathlib import Path

import pytest

from bench.replay.__main__ import main
from bench.replay.settings import SERVICES, InvalidReplaySettings, load_replay_settings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("QUAYSIDE_KEYS_DIR", str(tmp_path))
    for service in SERVICES:
        monkeypatch.setenv(f"{service.upper()}_DATABASE_URL", f"postgresql+asyncpg://{service}@nowhere/{service}")
        monkeypatch.delenv(f"{service.upper()}_URL", raising=False)
    return monkeypatch


class TestLoadReplaySettings:
    def test_defaults_to_the_ports_of_a_local_stack(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_URL", "http://127.0.0.1:9003")

        settings = load_replay_settings()

        assert settings.catalog_url == "http://127.0.0.1:8001"
        assert settings.orders_url == "http://127.0.0.1:9003"

    def test_hands_out_addresses_that_the_driver_understands(self, environment: pytest.MonkeyPatch) -> None:
        del environment

        assert load_replay_settings().database_url("orders") == "postgresql://orders@nowhere/orders"

    def test_names_every_variable_that_is_missing(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("ORDERS_DATABASE_URL")
        environment.setenv("CATALOG_URL", "ftp://catalog")

        with pytest.raises(InvalidReplaySettings) as problem:
            load_replay_settings()

        lines = str(problem.value).splitlines()
        assert [line.partition(":")[0] for line in lines] == ["CATALOG_URL", "ORDERS_DATABASE_URL"]

    def test_names_a_key_that_is_missing(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        del environment
        (tmp_path / "ops").write_text("secret\n")
        settings = load_replay_settings()

        assert settings.key("ops") == "secret"
        with pytest.raises(InvalidReplaySettings, match="storefront: No such file"):
            settings.key("storefront")


class TestMain:
    def test_says_in_one_line_what_is_missing(
        self, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        environment.delenv("QUAYSIDE_KEYS_DIR")

        assert main([]) == 2
        assert capsys.readouterr().err == "QUAYSIDE_KEYS_DIR: Field required\n"

    def test_says_that_there_is_no_such_file(
        self, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        del environment

        assert main(["--data", "absent.parquet"]) == 2
        assert capsys.readouterr().err == "absent.parquet: no such file\n"
