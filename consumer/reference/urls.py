"""Where each URL of the Consumer leads."""

from django.contrib import admin
from django.urls import path

from processing import fallback, health, pages

urlpatterns = [
    path("", pages.page, name="page"),
    path("api/transactions", pages.transactions, name="transactions"),
    path("transactions/<uuid:transaction_id>", pages.transaction_page, name="transaction-page"),
    path("api/transactions/<uuid:transaction_id>", pages.transaction, name="transaction"),
    path("webhooks/events", fallback.receive, name="fallback"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
]
