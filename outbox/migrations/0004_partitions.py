"""On PostgreSQL: published events by week, beside the small table that claims work on; autovacuum set for that one.

What was there stays where it is and becomes the first partition; only events that wait are moved. It takes one scan of the
table under an exclusive lock (measured: docs/decisions/0007). Backwards copies every row: reversible, and slow with millions.
"""

from datetime import UTC, datetime, timedelta

from django.db import migrations

LIKE = "(LIKE outbox_outboxmessage INCLUDING DEFAULTS INCLUDING CONSTRAINTS{more})"
FORWARDS = f"""
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = '30s';
    LOCK TABLE outbox_outboxmessage IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE outbox_outboxmessage RENAME TO outbox_archive_first;
    ALTER INDEX outbox_outboxmessage_pkey RENAME TO outbox_archive_first_pkey;
    ALTER INDEX outbox_key RENAME TO outbox_archive_first_key;
    ALTER INDEX outbox_published RENAME TO outbox_archive_first_at;
    DROP INDEX outbox_due, outbox_key_waiting, outbox_parked, outbox_dead;

    CREATE TABLE outbox_outboxmessage (LIKE outbox_archive_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
        PARTITION BY LIST (state);
    CREATE TABLE outbox_waiting {LIKE.format(more=", PRIMARY KEY (id)")};
    WITH moved AS (DELETE FROM outbox_archive_first WHERE state <> 'published' RETURNING *)
        INSERT INTO outbox_waiting SELECT * FROM moved;
    CREATE INDEX outbox_due ON outbox_waiting (due_at, id) WHERE state = 'pending';
    CREATE INDEX outbox_key_waiting ON outbox_waiting (key, sequence);
    CREATE INDEX outbox_parked ON outbox_waiting (key, sequence) WHERE parked;
    CREATE INDEX outbox_dead ON outbox_waiting (id) WHERE state = 'dead';
    ALTER TABLE outbox_waiting SET (
        autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);
    ALTER TABLE outbox_outboxmessage ATTACH PARTITION outbox_waiting FOR VALUES IN ('pending', 'dead');

    CREATE TABLE outbox_archive {LIKE.format(more="")} PARTITION BY RANGE (published_at);
    ALTER TABLE outbox_outboxmessage ATTACH PARTITION outbox_archive FOR VALUES IN ('published');
    ALTER TABLE outbox_archive ATTACH PARTITION outbox_archive_first FOR VALUES FROM (MINVALUE) TO ('{{until}}');
    CREATE TABLE outbox_archive_rest {LIKE.format(more=", PRIMARY KEY (id)")};
    CREATE INDEX outbox_archive_rest_key ON outbox_archive_rest (key, sequence);
    CREATE INDEX outbox_archive_rest_at ON outbox_archive_rest (published_at);
    ALTER TABLE outbox_archive ATTACH PARTITION outbox_archive_rest DEFAULT
"""
BACKWARDS = """
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = '30s';
    LOCK TABLE outbox_outboxmessage IN ACCESS EXCLUSIVE MODE;
    CREATE TABLE outbox_flat (LIKE outbox_outboxmessage INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    INSERT INTO outbox_flat SELECT * FROM outbox_outboxmessage;
    DROP TABLE outbox_outboxmessage;
    ALTER TABLE outbox_flat RENAME TO outbox_outboxmessage;
    ALTER TABLE outbox_outboxmessage ADD CONSTRAINT outbox_outboxmessage_pkey PRIMARY KEY (id);
    CREATE INDEX outbox_due ON outbox_outboxmessage (due_at, id) WHERE state = 'pending';
    CREATE INDEX outbox_key ON outbox_outboxmessage (key, sequence);
    CREATE INDEX outbox_key_waiting ON outbox_outboxmessage (key, sequence) WHERE state IN ('pending', 'dead');
    CREATE INDEX outbox_parked ON outbox_outboxmessage (key, sequence) WHERE parked;
    CREATE INDEX outbox_dead ON outbox_outboxmessage (id) WHERE state = 'dead';
    CREATE INDEX outbox_published ON outbox_outboxmessage (published_at) WHERE state = 'published'
"""


def partition(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        monday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        monday -= timedelta(days=monday.weekday())
        # This week and the next: the prune task has made the following ones by then.
        schema_editor.execute(FORWARDS.format(until=monday + timedelta(weeks=2)), params=None)


def flatten(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(BACKWARDS, params=None)


class Migration(migrations.Migration):
    dependencies = [("outbox", "0003_process_and_queue_state")]
    operations = [migrations.RunPython(partition, flatten)]
