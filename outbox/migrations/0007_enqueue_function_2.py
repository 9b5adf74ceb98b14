"""The enqueue function again, for events of one kind: the caller hands over the data, which it has, and gets one copy less.

Version 1 took each event's whole body, most of which the caller's own rows say too: a batch of a thousand was parsed by
PostgreSQL twice. It stays for the code of the version before, which calls it while a deploy rolls. `heads` are what
`envelope.head` made; a head, the data and a brace are the CloudEvent. The rows go straight into the partition that new
events belong to, since finding it costs as much as a row.
"""

from django.db import migrations

CREATE = """
CREATE FUNCTION outbox_enqueue_v2(
    topic text, type text, sequence bigint, ids uuid[], keys text[], heads text[], data text[], wake boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox_waiting
           (id, topic, type, key, sequence, body, created_at, due_at, state, attempts, parked, discarded, claimed_by,
            error, channel)
    SELECT event.id, topic, type, event.key, sequence, event.head || event.data || '}',
           statement_timestamp(), statement_timestamp(), 'pending', 0, false, false, '', '', ''
      FROM unnest(ids, keys, heads, data) AS event(id, key, head, data);
    IF wake THEN
        PERFORM pg_notify('outbox', '');
    END IF;
END
$$
"""


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION outbox_enqueue_v2")


class Migration(migrations.Migration):
    dependencies = [("outbox", "0006_relay_functions")]
    operations = [migrations.RunPython(create, drop)]
