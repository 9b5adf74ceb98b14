from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("outbox", "0007_enqueue_function_2")]

    operations = [
        migrations.AddField(
            model_name="outboxmessage",
            name="requeued_at",
            field=models.DateTimeField(null=True, help_text="When it was made to wait once more, the last time."),
        ),
    ]
