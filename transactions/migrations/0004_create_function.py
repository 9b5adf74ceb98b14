"""A database function that creates transactions with their history, events and Idempotency-Key (PostgreSQL).

One call and one commit per request, with plans that are kept for the life of a connection (see the outbox's function).
`api_key`: the key that must still be good, where nobody has looked yet. Returns NULL when it is not, false when the
Idempotency-Key was used before, true when everything is written. A row of `shown` is the JSON that the client is
answered with: what it was told is what is stored.
"""

from django.db import migrations

CREATE = """
CREATE FUNCTION transactions_create_v1(
    api_key bigint, client bigint, idempotency_key text, fingerprint bytea, ids jsonb, answer_status int,
    answer_headers jsonb, answer_body text, shown json, deadline_seconds double precision,
    event_ids uuid[], event_topics text[], event_types text[], event_keys text[], event_sequences bigint[],
    event_bodies text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF api_key IS NOT NULL AND NOT EXISTS (
        SELECT FROM transactions_apikey k JOIN transactions_apiclient c ON c.id = k.client_id
         WHERE k.id = api_key AND c.id = client AND k.revoked_at IS NULL AND c.active
           AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())
    ) THEN
        RETURN NULL;
    END IF;

    -- Another request with this key is waited for here, until it commits, rolls back or lock_timeout ends it.
    INSERT INTO transactions_idempotencykey (client_id, key, fingerprint, transactions, status, headers, body)
    VALUES (client, idempotency_key, transactions_create_v1.fingerprint, ids, answer_status, answer_headers, answer_body)
    ON CONFLICT (client_id, key) DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    WITH new AS MATERIALIZED (
        SELECT * FROM json_to_recordset(shown) AS row(
            id uuid, external_id text, account_number text, amount numeric, currency text, direction text,
            transaction_date timestamptz, description text, metadata jsonb, status text, version int,
            created_at timestamptz, updated_at timestamptz)
    ), history AS (
        INSERT INTO transactions_historyentry
               (transaction_id, kind, at, version, status, by, webhook_id, type, state, door)
        SELECT id, 'change', updated_at, version, status, 'client', '', '', '', '' FROM new
    )
    INSERT INTO transactions_transaction
           (id, client_id, external_id, account_number, amount, currency, direction, transaction_date, description,
            metadata, status, version, created_at, updated_at, check_at, overdue, resends)
    SELECT id, client, external_id, account_number, amount, currency, direction, transaction_date, description,
           metadata, status, version, created_at, updated_at,
           created_at + make_interval(secs => deadline_seconds), false, 0
      FROM new;

    PERFORM outbox_enqueue_v1(event_ids, event_topics, event_types, event_keys, event_sequences, event_bodies);
    RETURN true;
END
$$
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION transactions_create_v1")


class Migration(migrations.Migration):
    dependencies = [("transactions", "0003_overdue_index"), ("outbox", "0005_enqueue_function")]
    operations = [migrations.RunPython(create, drop)]
