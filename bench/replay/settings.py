"""Where the running stack is: addresses, keys and databases, all read from the environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

SERVICES = ("catalog", "inventory", "orders", "recommender", "logistics")

Address = Annotated[str, Field(pattern=r"^https?://")]


class InvalidReplaySettings(Exception):
    """The environment lacks what the replay needs; the message has one line for each variable."""


class ReplaySettings(BaseSettings):
    """
    The stack that a replay talks to; the variable of each value is its name in capitals.

    `quayside_keys_dir` holds one file for each caller: `storefront`, `warehouse`, `ops`. The
    databases and the brokers are only read, for the summary.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    quayside_keys_dir: Path
    quayside_kafka_bootstrap_servers: str = "127.0.0.1:19092"
    quayside_kafka_topic_prefix: str = ""

    catalog_url: Address = "http://127.0.0.1:8001"
    inventory_url: Address = "http://127.0.0.1:8002"
    orders_url: Address = "http://127.0.0.1:8003"
    recommender_url: Address = "http://127.0.0.1:8004"

    catalog_database_url: SecretStr
    inventory_database_url: SecretStr
    orders_database_url: SecretStr
    recommender_database_url: SecretStr
    logistics_database_url: SecretStr

    def database_url(self, service: str) -> str:
        """Return the address of a service's database, with its password."""
        secret: SecretStr = getattr(self, f"{service}_database_url")
        return secret.get_secret_value().replace("postgresql+asyncpg://", "postgresql://")

    def key(self, caller: str) -> str:
        """
        Return the API key of `storefront`, `warehouse` or `ops`.

        :raises InvalidReplaySettings: if there is none.
        """
        file = self.quayside_keys_dir / caller
        try:
            return file.read_text("utf-8").strip()
        except OSError as error:
            raise InvalidReplaySettings(f"QUAYSIDE_KEYS_DIR: {file}: {error.strerror}") from error


def load_replay_settings() -> ReplaySettings:
    """
    Read the environment.

    :raises InvalidReplaySettings: if a value is missing or wrong.
    """
    try:
        return ReplaySettings()
    except ValidationError as error:
        lines = (f"{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        raise InvalidReplaySettings("\n".join(lines)) from error
