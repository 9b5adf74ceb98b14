"""Paths of the rivals."""

from django.urls import path

from rivals import views

urlpatterns = [
    path("by-hand", views.ByHand.as_view()),
    path("floor", views.floor),
    path("delivery", views.delivery),
]
