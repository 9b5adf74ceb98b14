"""Wiring of paths only."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from producer import docs, errors, health, metrics, webhook_keys

urlpatterns = [
    # First, because patterns are tried in their order and nearly every request is one of these.
    path("api/v1/", include("transactions.urls")),
    path("api/v1/", include("webhooks.urls")),
    path("", docs.index, name="index"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("problems/<slug:slug>", docs.problem, name="problem"),
    path("api/v1/schema", docs.schema, name="schema"),
    path("api/v1/docs", docs.swagger, name="docs"),
    path(".well-known/webhook-keys", webhook_keys.webhook_keys, name="webhook-keys"),
    path("admin/", admin.site.urls),
    # Django shows an HTML page for unknown paths while DEBUG is on; a client must never see one.
    # Exempt from CSRF: a POST to a path that is not there is 404, not 403.
    re_path("", csrf_exempt(errors.not_found)),
]

handler400 = "producer.errors.bad_request"
handler403 = "producer.errors.forbidden"
handler404 = "producer.errors.not_found"
handler500 = "producer.errors.server_error"
