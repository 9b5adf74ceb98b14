"""Django's name for the processing app."""

from django.apps import AppConfig


class ProcessingConfig(AppConfig):
    name = "processing"
    label = "consumer"
