"""
Four carriers to begin with, so that the first order can be shipped.

They are made up: prices and transit days are of the order of what British shops paid around 2024, and no company
stands behind them. Replace them with your own through PUT /v1/carriers/{carrier}.
"""

from datetime import UTC, datetime, time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SEEDED_AT = datetime(2024, 1, 1, tzinfo=UTC)

_CARRIERS = {
    "example-post": "Example Post (made up)",
    "example-parcel": "Example Parcel (made up)",
    "example-express": "Example Express (made up)",
    "example-freight": "Example Freight (made up)",
}
# carrier, service: name, the last collection of the day (UTC)
_SERVICES = {
    ("example-post", "tracked"): ("Tracked letter post", time(17, 0)),
    ("example-parcel", "standard"): ("Parcel by road", time(16, 0)),
    ("example-express", "priority"): ("Next day and by air", time(15, 0)),
    ("example-freight", "pallet"): ("Pallets by road", time(12, 0)),
}
# carrier, service, zone, up to km, base in pence, pence for each kg, business days
_RATES = (
    ("example-post", "tracked", "domestic", None, 295, 75, 3),
    ("example-post", "tracked", "europe", None, 840, 230, 6),
    ("example-post", "tracked", "world", None, 1190, 520, 10),
    ("example-parcel", "standard", "domestic", 100, 410, 22, 1),
    ("example-parcel", "standard", "domestic", None, 480, 28, 2),
    ("example-parcel", "standard", "europe", 1000, 940, 85, 3),
    ("example-parcel", "standard", "europe", None, 1240, 120, 5),
    ("example-parcel", "standard", "world", None, 2150, 390, 8),
    ("example-express", "priority", "domestic", None, 690, 65, 1),
    ("example-express", "priority", "europe", None, 1980, 240, 2),
    ("example-express", "priority", "world", None, 3350, 610, 4),
    ("example-freight", "pallet", "domestic", None, 3900, 9, 3),
    ("example-freight", "pallet", "europe", None, 7900, 21, 5),
)


def upgrade() -> None:
    carriers = sa.table(
        "carriers",
        *(sa.column(name) for name in ("carrier", "name", "currency", "is_active", "version")),
        sa.column("updated_at", sa.DateTime(timezone=True)),
    )
    op.bulk_insert(
        carriers,
        [
            {
                "carrier": carrier,
                "name": name,
                "currency": "GBP",
                "is_active": True,
                "version": 1,
                "updated_at": _SEEDED_AT,
            }
            for carrier, name in _CARRIERS.items()
        ],
    )
    op.bulk_insert(
        sa.table(
            "carrier_services",
            *(sa.column(name) for name in ("carrier", "service", "name")),
            sa.column("cut_off", sa.Time),
        ),
        [
            {"carrier": carrier, "service": service, "name": name, "cut_off": cut_off}
            for (carrier, service), (name, cut_off) in _SERVICES.items()
        ],
    )
    columns = (
        "carrier",
        "service",
        "zone",
        "distance_km_max",
        "base_minor",
        "per_kg_minor",
        "transit_days",
    )
    op.bulk_insert(
        sa.table("carrier_rates", *(sa.column(name) for name in columns)),
        [dict(zip(columns, rate, strict=True)) for rate in _RATES],
    )
    op.execute("UPDATE rate_table SET version = 1")


def downgrade() -> None:
    for table in ("carrier_rates", "carrier_services", "carriers"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are this line's own
    op.execute("UPDATE rate_table SET version = 0")
