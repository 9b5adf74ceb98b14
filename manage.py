#!/usr/bin/env python
"""Runs commands for the Producer."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "producer.settings")
    execute_from_command_line(sys.argv)
