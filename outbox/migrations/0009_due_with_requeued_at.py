"""`requeued_at` in the index of what is due: else to count what waits would read all of its rows, and not the index alone.

(PostgreSQL, "Index-Only Scans and Covering Indexes".)
"""

from django.db import migrations

# One by one: none of them may be in a transaction. The old index goes when the new one is there: without any, claims read it all.
FORWARDS = (
    "DROP INDEX IF EXISTS outbox_due_next",
    "CREATE INDEX CONCURRENTLY outbox_due_next ON outbox_waiting (due_at, id) INCLUDE (requeued_at) WHERE state = 'pending'",
    "DROP INDEX CONCURRENTLY IF EXISTS outbox_due",
    "ALTER INDEX outbox_due_next RENAME TO outbox_due",
)
BACKWARDS = (
    "DROP INDEX IF EXISTS outbox_due_next",
    "CREATE INDEX CONCURRENTLY outbox_due_next ON outbox_waiting (due_at, id) WHERE state = 'pending'",
    "DROP INDEX CONCURRENTLY IF EXISTS outbox_due",
    "ALTER INDEX outbox_due_next RENAME TO outbox_due",
)


def on_postgresql(statements):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            for statement in statements:
                schema_editor.execute(statement, params=None)

    return run


class Migration(migrations.Migration):
    atomic = False
    reviewed = (
        "Old code reads the same columns from the same name. CONCURRENTLY: nobody waits. A run that was cut short begins anew:"
        " what it left half made is dropped."
    )
    dependencies = [("outbox", "0008_requeued_at")]
    operations = [migrations.RunPython(on_postgresql(FORWARDS), on_postgresql(BACKWARDS))]
