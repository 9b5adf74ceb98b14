"""The WSGI application of the web process; its courier starts with it, or after a fork with the first request."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reference.settings")
application = get_wsgi_application()

from processing import courier  # noqa: E402 - models can be imported only after Django is set up

courier.ensure_started()
