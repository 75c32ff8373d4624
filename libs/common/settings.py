"""What every process of every service reads from its environment, validated once at the start."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from libs.common.failpoints import check_specification

SHARED_PREFIX = "QUAYSIDE_"

_PRODUCTION = "production"
_MEBIBYTE = 1024 * 1024
_PORT_MAX = 65_535


def _postgresql_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgresql+asyncpg://")):
        message = "must start with postgresql:// or postgresql+asyncpg://"
        raise ValueError(message)
    return value


Port = Annotated[int, Field(ge=0, le=_PORT_MAX)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class ServiceSettings(BaseSettings):
    """
    The settings all services share; a service subclasses it and sets its own `env_prefix`.

    A value is read from `<SERVICE>_<NAME>` first and from `QUAYSIDE_<NAME>` second, so that what all services
    share is said once. Only `database_url` has no default, because no default for it can be right.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        # A validation error is printed at start-up; it must not show the secret that was wrong.
        hide_input_in_errors=True,
    )

    # What runs, as told to operators and clients; images carry it.
    version: str = Field(default="unreleased", max_length=64)
    environment: str = Field(default="local", pattern=r"^[a-z][a-z0-9-]{0,31}$")

    database_url: Annotated[SecretStr, AfterValidator(_postgresql_url)]
    database_pool_size: int = Field(default=10, ge=1, le=200)

    kafka_bootstrap_servers: str = Field(default="127.0.0.1:9092", min_length=1)
    kafka_topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]*$")

    host: str = "127.0.0.1"
    port: Port = 8000
    worker_port: Port = 9000
    api_keys_file: Path = Path("api-keys.json")
    api_docs: bool | None = None
    # How long a write may be sent again under its key and still be recognised.
    idempotency_key_lifetime_hours: float = Field(default=48, gt=0, le=24 * 3660)
    request_body_bytes_max: int = Field(default=_MEBIBYTE, ge=1024, le=1024 * _MEBIBYTE)
    request_receive_timeout_seconds: Seconds = 15.0
    requests_in_flight_max: int = Field(default=1000, ge=1, le=100_000)
    rate_limit_reads_per_second: float = Field(default=10_000.0, ge=0)
    rate_limit_writes_per_second: float = Field(default=5_000.0, ge=0)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    trace_sample_ratio: float = Field(default=0.0, ge=0, le=1)
    otlp_endpoint: str | None = None

    shutdown_timeout_seconds: Seconds = 20.0

    # Where tests make the process die, fail or stand still: see libs.common.failpoints.
    failpoints: Annotated[str, AfterValidator(check_specification)] = ""

    @field_validator("port", "worker_port")
    @classmethod
    def _is_port(cls, value: int) -> int:
        # The bound of the field is lost where a service declares it again as `port: int`, to set its own default.
        if not 0 <= value <= _PORT_MAX:
            message = f"must be 0 to {_PORT_MAX}"
            raise ValueError(message)
        return value

    @field_validator("failpoints")
    @classmethod
    def _is_no_production(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("environment") == _PRODUCTION:
            message = f"failpoints are for tests, this environment is {_PRODUCTION}"
            raise ValueError(message)
        return value

    @property
    def idempotency_key_lifetime(self) -> timedelta:
        """How long idempotency keys are kept."""
        return timedelta(hours=self.idempotency_key_lifetime_hours)

    @property
    def shows_api_docs(self) -> bool:
        """Whether `/docs` and `/openapi.json` are served: as said by `api_docs`, else only locally."""
        return self.environment == "local" if self.api_docs is None else self.api_docs

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what was passed in, then the service's own variables, then the shared ones."""
        shared = EnvSettingsSource(settings_cls, env_prefix=SHARED_PREFIX)
        return init_settings, env_settings, shared


class PersonalDataSettings(ServiceSettings):
    """The settings of services that know people by their own ids."""

    # See libs.common.data_keys; without it pseudonyms hide nothing.
    data_keys_file: Path | None = Field(default=None, validate_default=True)

    @field_validator("data_keys_file")
    @classmethod
    def _is_there_in_production(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None and info.data.get("environment") == _PRODUCTION:
            message = f"must be set, this environment is {_PRODUCTION}: python -m libs.common.data_keys create"
            raise ValueError(message)
        return value


class InvalidSettings(Exception):
    """The environment lacks a value or holds a wrong one; the message has one line for each."""


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(settings_class: type[Settings]) -> Settings:
    """
    Read the settings of a service from the environment.

    :raises InvalidSettings: naming each variable that is missing or wrong, never its value.
    """
    try:
        return settings_class()
    except ValidationError as error:
        raise InvalidSettings(_explain(settings_class, error)) from None


def _explain(settings_class: type[ServiceSettings], error: ValidationError) -> str:
    own_prefix = settings_class.model_config.get("env_prefix") or SHARED_PREFIX
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = "_".join(str(part) for part in problem["loc"]).upper()
        variables = dict.fromkeys((f"{own_prefix}{name}", f"{SHARED_PREFIX}{name}"))
        lines.append(f"{' or '.join(variables)}: {problem['msg']}")
    return "\n".join(lines)
