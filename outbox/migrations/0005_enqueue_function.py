"""A database function that writes events, for callers that write their change in the same call (PostgreSQL).

A function because its plan is kept for the life of a connection, through PgBouncer's transaction mode too, where
prepared statements are not: parsing and planning the statement anew costs more than running it. The number in its name
is its version: code of the version before goes on calling its own while a deploy rolls.
"""

from django.db import migrations

CREATE = """
CREATE FUNCTION outbox_enqueue_v1(
    ids uuid[], topics text[], types text[], keys text[], sequences bigint[], bodies text[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox_outboxmessage
           (id, topic, type, key, sequence, body, created_at, due_at, state, attempts, parked, discarded, claimed_by,
            error, channel)
    SELECT event.id, event.topic, event.type, event.key, event.sequence, event.body,
           statement_timestamp(), statement_timestamp(), 'pending', 0, false, false, '', '', ''
      FROM unnest(ids, topics, types, keys, sequences, bodies) AS event(id, topic, type, key, sequence, body);
END
$$
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION outbox_enqueue_v1")


class Migration(migrations.Migration):
    dependencies = [("outbox", "0004_partitions")]
    operations = [migrations.RunPython(create, drop)]
