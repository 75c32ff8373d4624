"""
SKUs that are made of others: reserving one reserves its components.

A bundle has no stock of its own and no bundles in it. What it is made of is what it was when it was reserved: a later
change concerns those who come later.
"""

from collections.abc import Mapping
from typing import Final

from libs.common.errors import Conflict, Invalid, NotFound
from services.inventory.domain.plausibility import UNITS_MAX

COMPONENTS_MAX: Final = 100
COMPONENT_UNITS_MAX: Final = 1_000_000

# What bundles consist of, by SKU of the bundle: units by SKU of the component.
Compositions = Mapping[str, Mapping[str, int]]


class BundleNotFound(NotFound):
    """The SKU is no bundle."""

    code = "bundle-not-found"


class BundleIsNested(Invalid):
    """A bundle would be a component of a bundle."""

    code = "nested-bundle"


class SkuHasStock(Conflict):
    """Units of the SKU itself are there, missing or on their way: it cannot be made of others."""

    code = "sku-has-stock"


class SkuIsWaitedFor(Conflict):
    """Orders wait for units of the SKU itself: it cannot be made of others until they are served or called off."""

    code = "sku-is-waited-for"


class TooManyUnits(Invalid):
    """More units of a component would be reserved than any stock can be."""

    code = "too-many-units"


def unpack(wanted: Mapping[str, int], compositions: Compositions) -> dict[str, int]:
    """
    Replace bundles by their components; a component that is also wanted by itself adds up.

    :raises TooManyUnits: if that are more units of a SKU than can be.
    """
    parts: dict[str, int] = {}
    for sku, units in wanted.items():
        for part, units_each in compositions.get(sku, {sku: 1}).items():
            parts[part] = parts.get(part, 0) + units * units_each
            if parts[part] > UNITS_MAX:
                raise TooManyUnits(f"More than {UNITS_MAX} units of {part}.", field="/lines")
    return parts


def obtainable_bundles(components: Mapping[str, int], free: Mapping[str, int]) -> int:
    """Return how many bundles the free units (by SKU) are enough for."""
    return min((free.get(sku, 0) // units for sku, units in components.items()), default=0)
