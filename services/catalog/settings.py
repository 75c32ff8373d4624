"""What the catalog reads from its environment, beyond what every service reads."""

from pydantic_settings import SettingsConfigDict

from libs.common.settings import Port, ServiceSettings


class CatalogSettings(ServiceSettings):
    """The catalog's settings: `CATALOG_*`, then `QUAYSIDE_*`."""

    model_config = SettingsConfigDict(env_prefix="CATALOG_")

    port: Port = 8001
    worker_port: Port = 9001
