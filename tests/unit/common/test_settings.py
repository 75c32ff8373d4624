import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from libs.common.settings import InvalidSettings, ServiceSettings, load_settings


class OrdersSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    port: int = 8003
    reminders_per_order_max: int = 3


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("DATABASE_URL", "PORT", "LOG_LEVEL", "ENVIRONMENT", "API_DOCS"):
        monkeypatch.delenv(f"ORDERS_{name}", raising=False)
        monkeypatch.delenv(f"QUAYSIDE_{name}", raising=False)
    monkeypatch.setenv("ORDERS_DATABASE_URL", "postgresql://orders:hunter2@127.0.0.1/orders")
    return monkeypatch


class TestSources:
    def test_the_services_own_variable_wins_over_the_shared_one(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("QUAYSIDE_LOG_LEVEL", "warning")
        environment.setenv("ORDERS_LOG_LEVEL", "debug")

        assert load_settings(OrdersSettings).log_level == "debug"

    def test_the_shared_variable_wins_over_the_default(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("QUAYSIDE_PORT", "9999")

        assert load_settings(OrdersSettings).port == 9999

    def test_an_empty_variable_counts_as_absent(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_PORT", "")

        assert load_settings(OrdersSettings).port == 8003

    def test_variables_of_other_services_are_ignored(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("CATALOG_PORT", "1")

        assert load_settings(OrdersSettings).port == 8003


class TestErrors:
    def test_names_both_variables_that_could_supply_a_missing_value(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("ORDERS_DATABASE_URL")

        with pytest.raises(InvalidSettings, match="ORDERS_DATABASE_URL or QUAYSIDE_DATABASE_URL: Field required"):
            load_settings(OrdersSettings)

    def test_has_a_line_for_each_wrong_value(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_PORT", "70000")
        environment.setenv("ORDERS_LOG_LEVEL", "loud")

        with pytest.raises(InvalidSettings) as refusal:
            load_settings(OrdersSettings)

        assert {line.split(" ")[0] for line in str(refusal.value).splitlines()} == {"ORDERS_PORT", "ORDERS_LOG_LEVEL"}

    def test_never_shows_a_secret(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_DATABASE_URL", "mysql://orders:hunter2@127.0.0.1/orders")

        with pytest.raises(InvalidSettings) as refusal:
            load_settings(OrdersSettings)

        assert "must start with postgresql://" in str(refusal.value)
        assert "hunter2" not in str(refusal.value)


class TestSettings:
    def test_do_not_change_after_they_were_read(self) -> None:
        settings = load_settings(OrdersSettings)

        with pytest.raises(ValidationError):
            settings.port = 1  # type: ignore[misc]

    def test_do_not_show_the_database_password_when_printed(self) -> None:
        assert "hunter2" not in repr(load_settings(OrdersSettings))

    def test_show_the_api_docs_only_locally(self, environment: pytest.MonkeyPatch) -> None:
        assert load_settings(OrdersSettings).shows_api_docs

        environment.setenv("ORDERS_ENVIRONMENT", "production")

        assert not load_settings(OrdersSettings).shows_api_docs

    def test_show_the_api_docs_in_production_if_told_to(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_ENVIRONMENT", "production")
        environment.setenv("ORDERS_API_DOCS", "true")

        assert load_settings(OrdersSettings).shows_api_docs


class TestFailpoints:
    @pytest.fixture(autouse=True)
    def exit_after_publish(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_FAILPOINTS", "relay.after-publish=exit@3")

    def test_are_read_from_the_environment(self) -> None:
        assert load_settings(OrdersSettings).failpoints == "relay.after-publish=exit@3"

    def test_are_refused_in_production(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_ENVIRONMENT", "production")

        with pytest.raises(InvalidSettings, match="ORDERS_FAILPOINTS"):
            load_settings(OrdersSettings)

    def test_are_refused_when_they_name_no_place(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ORDERS_FAILPOINTS", "relay.somewhere=exit")

        with pytest.raises(InvalidSettings, match=r"relay\.somewhere"):
            load_settings(OrdersSettings)
