"""The ledger, a capture for each parcel, reservations that are taken back, and what people decide about orders."""

from alembic import op

revision = "0008"
down_revision = "0007"

_APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""
_UP = (
    "ALTER TABLE orders ADD COLUMN stock_version bigint NOT NULL DEFAULT 0",
    """
    ALTER TABLE payments ADD COLUMN capture_at text NOT NULL DEFAULT 'each-dispatch',
        ADD CONSTRAINT payments_capture_at_check
            CHECK (capture_at IN ('each-dispatch', 'first-dispatch', 'last-dispatch'))
    """,
    # Orders that are under way were promised one charge.
    "UPDATE payments SET capture_at = 'last-dispatch'",
    """
    ALTER TABLE payment_commands ADD COLUMN shipment_id uuid,
        DROP CONSTRAINT payment_commands_status_check,
        ADD CONSTRAINT payment_commands_status_check
            CHECK (status IN ('waiting', 'pending', 'succeeded', 'declined', 'withdrawn', 'waived'))
    """,
    "DROP INDEX payment_commands_return_id_idx",
    """
    CREATE UNIQUE INDEX payment_commands_return_id_idx ON payment_commands (return_id)
    WHERE return_id IS NOT NULL AND status IN ('waiting', 'pending', 'succeeded')
    """,
    "DROP INDEX payment_commands_capture_idx",
    """
    CREATE UNIQUE INDEX payment_commands_capture_idx ON payment_commands (order_id, shipment_id) NULLS NOT DISTINCT
    WHERE kind = 'capture' AND status IN ('waiting', 'pending', 'succeeded')
    """,
    """
    ALTER TABLE order_shipments DROP CONSTRAINT order_shipments_status_check,
        ADD CONSTRAINT order_shipments_status_check
            CHECK (status IN ('planned', 'cancelled', 'dispatched', 'failed', 'lost', 'delivered'))
    """,
    """
    CREATE TABLE ledger_transfers (
        order_id uuid CONSTRAINT ledger_transfers_order_id_fkey REFERENCES payments (order_id),
        step_id uuid,
        fact text,
        debit text NOT NULL,
        credit text NOT NULL,
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        booked_at timestamptz NOT NULL,
        CONSTRAINT ledger_transfers_pkey PRIMARY KEY (order_id, step_id, fact),
        CONSTRAINT ledger_transfers_amount_check CHECK (amount_minor > 0),
        CONSTRAINT ledger_transfers_accounts_check CHECK (debit <> credit),
        CONSTRAINT ledger_transfers_fact_check CHECK (fact IN (
            'authorised', 'earned', 'captured', 'released', 'voided', 'refunded', 'unearned', 'written-off',
            'repaid-elsewhere'))
    )
    """,
    # The ledger begins with what is known of the orders that there are.
    """
    INSERT INTO ledger_transfers (order_id, step_id, fact, debit, credit, amount_minor, currency, booked_at)
    SELECT payments.order_id, payment_commands.id, entry.fact, entry.debit, entry.credit,
           payment_commands.amount_minor, payments.currency, payment_commands.resolved_at
    FROM payment_commands
    JOIN payments ON payments.order_id = payment_commands.order_id
    JOIN (VALUES ('authorise', 'authorised', 'held-by-provider', 'committed-by-customer'),
                 ('capture', 'earned', 'customer-receivable', 'revenue'),
                 ('capture', 'captured', 'provider-clearing', 'customer-receivable'),
                 ('capture', 'released', 'committed-by-customer', 'held-by-provider'),
                 ('void', 'voided', 'committed-by-customer', 'held-by-provider'),
                 ('refund', 'refunded', 'refunds', 'provider-clearing')) AS entry (kind, fact, debit, credit)
      ON entry.kind = payment_commands.kind
    WHERE payment_commands.status = 'succeeded'
    """,
    """
    INSERT INTO ledger_transfers (order_id, step_id, fact, debit, credit, amount_minor, currency, booked_at)
    SELECT payments.order_id, payment_commands.id, 'earned', 'customer-receivable', 'revenue',
           payment_commands.amount_minor, payments.currency, payment_commands.created_at
    FROM payment_commands JOIN payments ON payments.order_id = payment_commands.order_id
    WHERE kind = 'capture' AND status IN ('waiting', 'pending', 'declined')
    """,
    """
    CREATE TABLE order_actions (
        id uuid CONSTRAINT order_actions_pkey PRIMARY KEY,
        order_id uuid NOT NULL CONSTRAINT order_actions_order_id_fkey REFERENCES orders (id),
        action text NOT NULL,
        reason text NOT NULL,
        principal text NOT NULL,
        shipment_id uuid,
        refund_minor bigint,
        replacement_order_id uuid,
        status_before text NOT NULL,
        status_after text NOT NULL,
        acted_at timestamptz NOT NULL,
        CONSTRAINT order_actions_action_check
            CHECK (action IN ('retry', 'skip', 'force-compensate', 'refund-parcel', 'reship'))
    )
    """,
    "CREATE INDEX order_actions_order_id_id_idx ON order_actions (order_id, id)",
    _APPEND_ONLY,
    """
    CREATE TRIGGER ledger_transfers_append_only BEFORE UPDATE OR DELETE ON ledger_transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE TRIGGER order_actions_append_only BEFORE UPDATE OR DELETE ON order_actions
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
)
_DOWN = (
    "DROP TABLE order_actions",
    "DROP TABLE ledger_transfers",
    "DROP FUNCTION refuse_change",
    "UPDATE order_shipments SET status = 'failed' WHERE status = 'lost'",
    """
    ALTER TABLE order_shipments DROP CONSTRAINT order_shipments_status_check,
        ADD CONSTRAINT order_shipments_status_check
            CHECK (status IN ('planned', 'cancelled', 'dispatched', 'failed', 'delivered'))
    """,
    "DROP INDEX payment_commands_capture_idx",
    # Refused if an order was charged more than once: then there is no way back.
    """
    CREATE UNIQUE INDEX payment_commands_capture_idx ON payment_commands (order_id)
    WHERE kind = 'capture' AND status IN ('waiting', 'pending', 'succeeded')
    """,
    "DROP INDEX payment_commands_return_id_idx",
    "CREATE UNIQUE INDEX payment_commands_return_id_idx ON payment_commands (return_id) WHERE return_id IS NOT NULL",
    "UPDATE payment_commands SET status = 'declined' WHERE status = 'waived'",
    """
    ALTER TABLE payment_commands DROP COLUMN shipment_id,
        DROP CONSTRAINT payment_commands_status_check,
        ADD CONSTRAINT payment_commands_status_check
            CHECK (status IN ('waiting', 'pending', 'succeeded', 'declined', 'withdrawn'))
    """,
    "ALTER TABLE payments DROP COLUMN capture_at",
    "ALTER TABLE orders DROP COLUMN stock_version",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _DOWN:
        op.execute(statement)
