"""The roles of the admin with their permissions. `manage.py create_roles` does the same again after an upgrade."""

from django.db import migrations

from producer import roles


def install(apps, schema_editor):
    roles.install(apps)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("outbox", "0001_initial"),
        ("transactions", "0001_initial"),
        ("webhooks", "0002_webhook_keys"),
    ]
    # Backwards the roles stay: people may be in them.
    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
