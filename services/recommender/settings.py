"""What the recommender's processes read from their environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.common.settings import PersonalDataSettings, Seconds


class RecommenderSettings(PersonalDataSettings):
    """The recommender's settings: `RECOMMENDER_…`, or `QUAYSIDE_…` where services share a value."""

    model_config = SettingsConfigDict(env_prefix="RECOMMENDER_")

    port: int = Field(default=8004, ge=0, le=65535)
    worker_port: int = Field(default=9004, ge=0, le=65535)

    # How long a post of behaviour events may wait for the broker before it is answered with 503.
    intake_timeout_seconds: Seconds = 5.0
    # Whether each answer to a known visitor is published as recommendation.shown.
    publishes_shown: bool = True
    # How old the counts behind an answer may be: the price of not reading them for every request.
    counts_age_seconds_max: float = Field(default=5.0, ge=0, le=3600)
    # Browsing windows are of no use once their visitor has left for good.
    windows_kept_hours: int = Field(default=48, ge=1, le=24 * 365)
    histories_kept_days: int = Field(default=400, ge=1, le=3650)
