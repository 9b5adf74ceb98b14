"""Database functions of the relay's ordinary pass: claim, settle, and the release of what waits for a key (PostgreSQL).

Functions for the reason that 0005 gives: their plans are kept, and each is one round trip in a transaction of its own. The
settings beside them: a plan made while a table was nearly empty must not read or sort all of it when it has grown; and what
is switched off counts as so costly where it cannot be left out that the server would compile the statement, for half a second.
"""

from django.db import migrations

INDEXES_ONLY = """
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
"""
# SKIP LOCKED: whoever holds one is awake anyway. The first EXISTS is decided once: usually nothing is parked at all.
# The state, here and in all that follows, is for the planner: it then looks at one partition (outbox/partitions.py).
RELEASE = f"""
CREATE FUNCTION outbox_release_v1(waiting_keys text[], each_key integer) RETURNS void LANGUAGE plpgsql {INDEXES_ONLY} AS $$
BEGIN
    IF EXISTS (SELECT FROM outbox_outboxmessage WHERE parked AND state = 'pending') THEN
        UPDATE outbox_outboxmessage SET parked = false, due_at = statement_timestamp()
         WHERE state = 'pending' AND id = ANY(ARRAY(
               SELECT next.id FROM unnest(waiting_keys) AS wanted(key)
                CROSS JOIN LATERAL (
                      SELECT id FROM outbox_outboxmessage AS m
                       WHERE m.key = wanted.key AND m.parked AND m.state = 'pending'
                       ORDER BY m.sequence LIMIT each_key FOR UPDATE SKIP LOCKED) AS next));
    END IF;
END
$$
"""
# Three statements, and each sees what was committed before it began: that no key has an earlier event in other hands must
# be read after the locks are held. Those undelivered up to the last one taken are counted: more of them than were taken
# means that some are in other hands.
CLAIM = f"""
CREATE FUNCTION outbox_claim_v1(
    most integer, due_from timestamptz, lease_seconds float8, token uuid, relay text, dead_blocks boolean
) RETURNS TABLE (
    id uuid, topic text, type text, key text, sequence bigint, body text, attempts integer, created_at timestamptz,
    due_at timestamptz
) LANGUAGE plpgsql {INDEXES_ONLY} AS $$
#variable_conflict use_column
DECLARE
    ids uuid[]; keys text[]; sequences bigint[]; dues timestamptz[]; ordinary boolean;
BEGIN
    SELECT array_agg(due.id), array_agg(due.key), array_agg(due.sequence), array_agg(due.due_at),
           bool_and(due.attempts = 0 AND due.lease_token IS NULL)
      INTO ids, keys, sequences, dues, ordinary
      FROM (SELECT m.id, m.key, m.sequence, m.due_at, m.attempts, m.lease_token FROM outbox_outboxmessage AS m
             WHERE m.state = 'pending' AND m.due_at <= statement_timestamp()
               AND m.due_at >= coalesce(due_from, '-infinity')
             ORDER BY m.due_at, m.id LIMIT most FOR UPDATE SKIP LOCKED) AS due;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    IF NOT ordinary OR cardinality(ids) < (
        SELECT count(*) FROM (
            SELECT FROM (SELECT mine.key, max(mine.sequence) AS last
                           FROM unnest(keys, sequences) AS mine(key, sequence) GROUP BY mine.key) AS wanted
              JOIN outbox_outboxmessage AS m ON m.key = wanted.key AND m.sequence <= wanted.last
             WHERE m.state IN ('pending', 'dead')
               AND (m.state = 'pending' OR (dead_blocks AND NOT m.discarded))
             LIMIT cardinality(ids) + 1) AS undelivered
    ) THEN
        RETURN QUERY SELECT NULL::uuid, NULL, NULL, NULL, NULL::bigint, NULL, NULL::integer, NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    RETURN QUERY
        WITH taken AS (
            UPDATE outbox_outboxmessage AS m
               SET due_at = statement_timestamp() + make_interval(secs => lease_seconds), lease_token = token,
                   claimed_by = relay, attempts = m.attempts + 1, parked = false
              FROM unnest(ids, dues) WITH ORDINALITY AS due(id, due_at, place)
             WHERE m.state = 'pending' AND m.id = due.id
         RETURNING m.id, m.topic, m.type, m.key, m.sequence, m.body, m.attempts - 1 AS attempts, m.created_at,
                   due.due_at, due.place)
        SELECT t.id, t.topic::text, t.type::text, t.key::text, t.sequence, t.body, t.attempts, t.created_at, t.due_at
          FROM taken AS t ORDER BY t.place;
END
$$
"""
SETTLE = f"""
CREATE FUNCTION outbox_settle_v1(
    ids uuid[], token uuid, by_channel text, took_ms integer, waiting_keys text[], each_key integer
) RETURNS integer LANGUAGE plpgsql {INDEXES_ONLY} AS $$
DECLARE
    settled integer;
BEGIN
    UPDATE outbox_outboxmessage
       SET state = 'published', published_at = statement_timestamp(), channel = by_channel, confirm_ms = took_ms,
           lease_token = NULL, error = ''
     WHERE state = 'pending' AND id = ANY(ids) AND lease_token = token;
    GET DIAGNOSTICS settled = ROW_COUNT;
    IF settled > 0 THEN
        PERFORM outbox_release_v1(waiting_keys, each_key);
    END IF;
    RETURN settled;
END
$$
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for function in (RELEASE, CLAIM, SETTLE):
            schema_editor.execute(function)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in ("outbox_settle_v1", "outbox_claim_v1", "outbox_release_v1"):
            schema_editor.execute(f"DROP FUNCTION {name}")


class Migration(migrations.Migration):
    dependencies = [("outbox", "0005_enqueue_function")]
    operations = [migrations.RunPython(create, drop)]
