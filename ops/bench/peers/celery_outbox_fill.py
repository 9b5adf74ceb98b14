"""Enqueues COUNT tasks of 600 bytes in one transaction: python celery_outbox_fill.py COUNT"""

import sys

import django

django.setup()

from celery_outbox_app import app  # noqa: E402 - after Django is set up
from django.db import transaction  # noqa: E402

with transaction.atomic():
    for number in range(int(sys.argv[1])):
        app.send_task("peer.task", kwargs={"number": number, "pad": "x" * 560})
