"""Carriers as callers send and get them."""

from datetime import time
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from libs.common.http.fields import Currency, Label
from services.logistics.domain.carriers import Carrier, CarrierService, Rate
from services.logistics.domain.geography import Zone

# A hundred million of the major unit: more is a typing error.
_PRICE_MINOR_MAX: Final = 10_000_000_000
_RATES_MAX: Final = 60
_SERVICES_MAX: Final = 20

Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RateModel(_Input):
    """A price for a zone, or for the nearer part of it."""

    zone: Zone
    distance_km_max: int | None = Field(default=None, ge=1, le=21_000, strict=True)
    base_minor: int = Field(ge=0, le=_PRICE_MINOR_MAX, strict=True)
    per_kg_minor: int = Field(ge=0, le=_PRICE_MINOR_MAX, strict=True)
    transit_days: int = Field(ge=1, le=60, strict=True, description="Business days from collection to delivery.")


class CarrierServiceModel(_Input):
    """One product of a carrier."""

    service: Code
    name: Label
    cut_off: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = Field(
        description="The last collection of the day, HH:MM in UTC."
    )
    rates: list[RateModel] = Field(min_length=1, max_length=_RATES_MAX)

    @model_validator(mode="after")
    def _one_rate_for_each_reach(self) -> Self:
        reaches = [(rate.zone, rate.distance_km_max) for rate in self.rates]
        if len(set(reaches)) != len(reaches):
            message = "two rates are for the same zone and distance"
            raise ValueError(message)
        return self


class PutCarrierRequest(_Input):
    """Everything that a carrier offers."""

    name: Label
    currency: Currency
    is_active: bool = Field(default=True, strict=True)
    services: list[CarrierServiceModel] = Field(max_length=_SERVICES_MAX)

    @model_validator(mode="after")
    def _one_service_of_each_code(self) -> Self:
        codes = [service.service for service in self.services]
        if len(set(codes)) != len(codes):
            message = "two services have the same code"
            raise ValueError(message)
        return self

    def carrier(self, code: str) -> Carrier:
        """Return it as the use case takes it."""
        return Carrier(
            carrier=code,
            name=self.name,
            currency=self.currency,
            is_active=self.is_active,
            services=tuple(_service(service) for service in self.services),
        )


class CarrierResponse(BaseModel):
    """A carrier; `version` counts the changes of what it offers."""

    carrier: str
    version: int
    name: str
    currency: str
    is_active: bool
    services: list[CarrierServiceModel]

    @classmethod
    def of(cls, carrier: Carrier) -> Self:
        """Shape a carrier."""
        return cls(
            carrier=carrier.carrier,
            version=carrier.version,
            name=carrier.name,
            currency=carrier.currency,
            is_active=carrier.is_active,
            services=[
                CarrierServiceModel(
                    service=service.service,
                    name=service.name,
                    cut_off=service.cut_off.strftime("%H:%M"),
                    rates=[
                        RateModel(
                            zone=rate.zone,
                            distance_km_max=rate.distance_km_max,
                            base_minor=rate.base_minor,
                            per_kg_minor=rate.per_kg_minor,
                            transit_days=rate.transit_days,
                        )
                        for rate in service.rates
                    ],
                )
                for service in carrier.services
            ],
        )


def _service(model: CarrierServiceModel) -> CarrierService:
    return CarrierService(
        service=model.service,
        name=model.name,
        cut_off=time.fromisoformat(model.cut_off),
        rates=tuple(
            Rate(
                zone=rate.zone,
                distance_km_max=rate.distance_km_max,
                base_minor=rate.base_minor,
                per_kg_minor=rate.per_kg_minor,
                transit_days=rate.transit_days,
            )
            for rate in model.rates
        ),
    )
