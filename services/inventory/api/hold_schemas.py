"""What is asked of holds over HTTP, and what they look like there."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.common.http.fields import BOTH_COORDINATES_OR_NONE, Latitude, Longitude, check_coordinates
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX, SKU_CHARACTERS_MAX, UNITS_MAX
from services.inventory.handlers.holds import HoldState

_LINES_MAX = 1_000
_TTL_SECONDS_MAX = 366 * 24 * 3600
_TEXT = r"^[^\x00-\x1f\x7f]+$"

Sku = Annotated[str, Field(min_length=1, max_length=SKU_CHARACTERS_MAX, pattern=_TEXT)]
Quantity = Annotated[int, Field(ge=1, le=UNITS_MAX, strict=True)]
TtlSeconds = Annotated[
    int | None,
    Field(default=None, ge=1, le=_TTL_SECONDS_MAX, strict=True, description="How long from now; else as the policy."),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HoldLineRequest(_Request):
    """Units of a SKU; lines of the same SKU add up."""

    sku: Sku
    quantity: Quantity


class HoldDestinationRequest(_Request):
    """Where it would go, as far as that is known: nearer warehouses are preferred."""

    model_config = ConfigDict(json_schema_extra=BOTH_COORDINATES_OR_NONE)

    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    latitude: Latitude | None = None
    longitude: Longitude | None = None

    @model_validator(mode="after")
    def _has_both_coordinates_or_none(self) -> Self:
        check_coordinates(self.latitude, self.longitude)
        return self


class PlaceHoldRequest(_Request):
    """What is to be held, for whom, and for how long."""

    reservation_id: UUID = Field(description="The caller's own; an order of the same id takes the hold over.")
    channel: str = Field(min_length=1, max_length=64, pattern=_TEXT, examples=["web"])
    lines: list[HoldLineRequest] = Field(min_length=1, max_length=_LINES_MAX)
    destination: HoldDestinationRequest | None = None
    mode: Literal["all-or-nothing", "best-effort"] = "all-or-nothing"
    is_split_allowed: bool = Field(default=True, strict=True, description="Whether several warehouses may share it.")
    ttl_seconds: TtlSeconds


class ExtendHoldRequest(_Request):
    """How long the hold is to last from now; it never becomes shorter."""

    ttl_seconds: TtlSeconds


class CommitLineRequest(_Request):
    """Units that leave for good, from one warehouse or from wherever they are held."""

    sku: Sku
    quantity: Quantity
    warehouse: Annotated[str, Field(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)] | None = None


class CommitHoldRequest(_Request):
    """What leaves for good; all that is held if there are no lines."""

    lines: list[CommitLineRequest] | None = Field(default=None, min_length=1, max_length=_LINES_MAX)


class HeldLineResponse(BaseModel):
    """Units of a SKU in one warehouse."""

    sku: str
    warehouse: str
    quantity: int


class HoldShortageResponse(BaseModel):
    """What was wanted of a SKU, and what there was of it."""

    sku: str
    requested: int
    available: int


class HoldResponse(BaseModel):
    """A hold as it is now; `shortages` is what was wanted and is not held."""

    reservation_id: UUID
    status: Literal["held", "released", "committed"]
    version: int
    channel: str
    expires_at: datetime
    held: list[HeldLineResponse]
    committed: list[HeldLineResponse]
    shortages: list[HoldShortageResponse]

    @classmethod
    def of(cls, state: HoldState) -> Self:
        """Show a hold."""
        return cls.model_validate(
            {
                "reservation_id": state.reservation_id,
                "status": state.status.value,
                "version": state.version,
                "channel": state.channel,
                "expires_at": state.expires_at,
                "held": [{"sku": one.sku, "warehouse": one.warehouse, "quantity": one.quantity} for one in state.held],
                "committed": [
                    {"sku": one.sku, "warehouse": one.warehouse, "quantity": one.quantity} for one in state.committed
                ],
                "shortages": [
                    {"sku": one.sku, "requested": one.requested, "available": one.available} for one in state.shortages
                ],
            }
        )
