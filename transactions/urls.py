"""Paths of the API; no trailing slashes."""

from django.urls import path

from transactions import views

urlpatterns = [
    path("transactions", views.TransactionsView.as_view(), name="transactions"),
    path("transactions/batch", views.BatchView.as_view(), name="batch"),
    path("transactions/<str:txn_id>", views.TransactionView.as_view(), name="transaction"),
    path("transactions/<str:txn_id>/events", views.EventsView.as_view(), name="events"),
]
