"""The smallest Django project around django-celery-outbox, with its defaults; only confirms are switched on."""

import os
from urllib.parse import urlsplit

where = urlsplit(os.environ["DATABASE_URL"])
SECRET_KEY = "only-for-the-benchmark"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_outbox"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": where.path[1:], "USER": where.username,
        "PASSWORD": where.password or "", "HOST": where.hostname, "PORT": where.port or 5432, "CONN_MAX_AGE": 600,
    }
}  # fmt: skip
CELERY_OUTBOX_APP = "celery_outbox_app.app"
