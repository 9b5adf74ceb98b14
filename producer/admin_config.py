"""Puts our admin site in the place of Django's, so that every `@admin.register` goes there."""

from django.contrib.admin.apps import AdminConfig


class OperatorsAdminConfig(AdminConfig):
    """In a file of its own: Django would take a second configuration in apps.py for the producer's."""

    default_site = "producer.admin_site.OperatorsSite"
