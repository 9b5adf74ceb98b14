"""Names the scheduler app."""

from django.apps import AppConfig


class SchedulerConfig(AppConfig):
    """The clock: periodic tasks and the beat scheduler."""

    name = "scheduler"
    default_auto_field = "django.db.models.BigAutoField"
