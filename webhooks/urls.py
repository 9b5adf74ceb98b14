"""Paths of the Consumer's HTTP door."""

from django.urls import path

from webhooks import views

urlpatterns = [
    path("webhooks/results", views.receive_result, name="results"),
    path("webhooks/results/<path:webhook_id>", views.receipt, name="receipt"),
]
