"""The register of customers who are erased, and what the other services have answered."""

from alembic import op

revision = "0026"
down_revision = "0025"

_STATEMENTS = (
    """
    CREATE TABLE erasures (
        id uuid CONSTRAINT erasures_pkey PRIMARY KEY,
        customer text NOT NULL CONSTRAINT erasures_customer_key UNIQUE,
        customer_id text,
        visitors text[] NOT NULL,
        order_ids uuid[] NOT NULL DEFAULT '{}',
        status text NOT NULL,
        reason text NOT NULL,
        requested_at timestamptz NOT NULL,
        requested_by text NOT NULL,
        erased_at timestamptz,
        done_at timestamptz,
        rows bigint NOT NULL DEFAULT 0,
        CONSTRAINT erasures_status_check CHECK (status IN ('requested', 'spreading', 'done')),
        CONSTRAINT erasures_customer_id_check CHECK (status = 'requested' OR customer_id IS NULL),
        CONSTRAINT erasures_done_check CHECK ((status = 'done') = (done_at IS NOT NULL))
    )
    """,
    "CREATE INDEX erasures_open_idx ON erasures (id) WHERE status <> 'done'",
    "CREATE INDEX erasures_requested_at_idx ON erasures (requested_at)",
    """
    CREATE TABLE erasure_answers (
        part_id uuid,
        service text,
        erasure_id uuid NOT NULL CONSTRAINT erasure_answers_erasure_id_fkey REFERENCES erasures (id),
        rows bigint NOT NULL DEFAULT 0,
        answered_at timestamptz,
        CONSTRAINT erasure_answers_pkey PRIMARY KEY (part_id, service)
    )
    """,
    "CREATE INDEX erasure_answers_erasure_id_idx ON erasure_answers (erasure_id)",
    # What people decided stays for good; what they wrote about it goes with the customer whom it is about.
    """
    CREATE FUNCTION refuse_change_of_action() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.reason = 'withheld' THEN
            OLD.reason := NEW.reason;
            IF NEW IS NOT DISTINCT FROM OLD THEN RETURN NEW; END IF;
        END IF;
        RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
    """,
    "DROP TRIGGER order_actions_append_only ON order_actions",
    """
    CREATE TRIGGER order_actions_append_only BEFORE UPDATE OR DELETE ON order_actions
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_action()
    """,
)
_DOWN = (
    "DROP TRIGGER order_actions_append_only ON order_actions",
    """
    CREATE TRIGGER order_actions_append_only BEFORE UPDATE OR DELETE ON order_actions
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    "DROP FUNCTION refuse_change_of_action",
    "DROP TABLE erasure_answers",
    "DROP TABLE erasures",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _DOWN:
        op.execute(statement)
