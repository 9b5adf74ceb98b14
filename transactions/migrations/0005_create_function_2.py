"""The create function again: each byte of the new transactions comes over once (PostgreSQL).

`shown` holds what the client is answered with, a transaction's JSON on each line. The rows, the stored answer and the events
are made of it here; version 1 was sent all three, and reading them took longer than writing them. It stays for the code of
the version before, which calls it while a deploy rolls. Returns as version 1 did: NULL when the API key is not good (any
more), false when the Idempotency-Key was used before, true when everything is written.
"""

from django.db import migrations

CREATE = """
CREATE FUNCTION transactions_create_v2(
    api_key bigint, client bigint, idempotency_key text, fingerprint bytea, answer_status int, answer_headers jsonb,
    answer_start text, answer_end text, ids text, shown text, deadline_seconds double precision,
    event_topic text, event_type text, event_ids text, event_heads text, wake boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    keys text[] := string_to_array(ids, E'\\n');
    listed text := replace(shown, E'\\n', ',');
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
    VALUES (client, idempotency_key, transactions_create_v2.fingerprint, to_jsonb(keys), answer_status, answer_headers,
            answer_start || listed || answer_end)
    ON CONFLICT (client_id, key) DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    WITH new AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST('[' || listed || ']' AS json)) AS row(
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

    PERFORM outbox_enqueue_v2(
        event_topic, event_type, 1, CAST(string_to_array(event_ids, E'\\n') AS uuid[]), keys,
        string_to_array(event_heads, E'\\n'),
        ARRAY(SELECT '{"transaction":' || line || '}' FROM unnest(string_to_array(shown, E'\\n')) AS line),
        wake);
    RETURN true;
END
$$
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION transactions_create_v2")


class Migration(migrations.Migration):
    dependencies = [("transactions", "0004_create_function"), ("outbox", "0007_enqueue_function_2")]
    operations = [migrations.RunPython(create, drop)]
