"""Lots of units with their expiry, units that are blocked, write-offs, and what counts and picks said themselves."""

from alembic import op

revision = "0004"
down_revision = "0003"

_KINDS = "'receipt', 'pick', 'ship', 'return', 'adjust', 'count', 'transfer-out', 'transfer-in', 'shortfall'"
_UPGRADE = (
    """
    ALTER TABLE stock_items
        ADD COLUMN tracks_lots boolean NOT NULL DEFAULT false,
        ADD COLUMN shelf_life_days_min integer NOT NULL DEFAULT 0
            CONSTRAINT stock_items_shelf_life_days_min_check CHECK (shelf_life_days_min >= 0)
    """,
    """
    ALTER TABLE stock_levels
        ADD COLUMN blocked bigint NOT NULL DEFAULT 0
            CONSTRAINT stock_levels_blocked_check CHECK (blocked >= 0 AND blocked <= on_hand)
    """,
    """
    ALTER TABLE stock_movements
        ADD COLUMN lot text COLLATE "C",
        ADD COLUMN expires_on date,
        ADD COLUMN counted bigint,
        ADD COLUMN picked bigint
    """,
    "ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_kind_check",
    # Checked in a statement of its own, which keeps nobody from writing.
    f"""
    ALTER TABLE stock_movements
        ADD CONSTRAINT stock_movements_kind_check CHECK (kind IN ({_KINDS}, 'write-off')) NOT VALID
    """,
    "ALTER TABLE stock_movements VALIDATE CONSTRAINT stock_movements_kind_check",
    """
    CREATE TABLE stock_lots (
        sku text COLLATE "C" NOT NULL,
        warehouse text COLLATE "C" NOT NULL,
        lot text COLLATE "C" NOT NULL,
        units bigint NOT NULL,
        expires_on date,
        usable_until date,
        received_at timestamptz,
        is_blocked boolean NOT NULL,
        CONSTRAINT stock_lots_pkey PRIMARY KEY (sku, warehouse, lot),
        CONSTRAINT stock_lots_units_check CHECK (units > 0),
        CONSTRAINT stock_lots_expires_on_check CHECK ((expires_on IS NULL) = (usable_until IS NULL)),
        CONSTRAINT stock_lots_is_blocked_check CHECK (NOT is_blocked OR expires_on IS NOT NULL)
    )
    """,
    "CREATE INDEX stock_lots_usable_until_idx ON stock_lots (usable_until) WHERE NOT is_blocked",
)
_DOWNGRADE = (
    "DROP TABLE stock_lots",
    "ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_kind_check",
    f"ALTER TABLE stock_movements ADD CONSTRAINT stock_movements_kind_check CHECK (kind IN ({_KINDS}))",
    "ALTER TABLE stock_movements DROP COLUMN lot, DROP COLUMN expires_on, DROP COLUMN counted, DROP COLUMN picked",
    "ALTER TABLE stock_levels DROP COLUMN blocked",
    "ALTER TABLE stock_items DROP COLUMN tracks_lots, DROP COLUMN shelf_life_days_min",
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWNGRADE:
        op.execute(statement)
