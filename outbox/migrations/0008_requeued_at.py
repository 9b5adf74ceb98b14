"""When an event was made to wait once more, and an index of those few, for the age of the oldest that waits."""

from django.db import migrations, models

FORWARDS = """
    CREATE INDEX outbox_requeued ON outbox_waiting (id, requeued_at) WHERE state = 'pending' AND requeued_at IS NOT NULL
"""
BACKWARDS = "DROP INDEX outbox_requeued"


def on_postgresql(statement):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(statement, params=None)

    return run


class Migration(migrations.Migration):
    reviewed = (
        "Old code neither reads nor writes the column. The index is empty: to make it, the rows that wait are read once, a"
        " million of them in about a second, in which nothing is written. Not CONCURRENTLY, which a long transaction elsewhere"
        " holds up beyond the statement timeout."
    )
    dependencies = [("outbox", "0007_enqueue_function_2")]

    operations = [
        migrations.AddField(
            model_name="outboxmessage",
            name="requeued_at",
            field=models.DateTimeField(null=True, help_text="When it was made to wait once more, the last time."),
        ),
        migrations.RunPython(on_postgresql(FORWARDS), on_postgresql(BACKWARDS)),
    ]
