"""Schedules in our theme: what runs by the clock."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat import admin as beat
from django_celery_beat import models as schedules
from unfold.admin import ModelAdmin, TabularInline
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from outbox.verb_pages import VerbAdmin
from outbox.verbs import Outcome, Press, Verb
from scheduler import services

admin.site.unregister(
    [
        schedules.PeriodicTask,
        schedules.IntervalSchedule,
        schedules.CrontabSchedule,
        schedules.SolarSchedule,
        schedules.ClockedSchedule,
    ]
)


class TaskWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    """The registered tasks, in the theme's select."""


class PeriodicTaskForm(beat.PeriodicTaskForm):
    """Beat's form; its two fields of its own need the theme's widgets by hand."""

    regtask = beat.TaskChoiceField(label="Task (registered)", required=False, widget=TaskWidget)
    task = forms.CharField(label="Task (custom)", required=False, max_length=200, widget=UnfoldAdminTextInputWidget)


def _pause(press: Press) -> Outcome:
    return Outcome(services.set_enabled(press.ids, False))


def _resume(press: Press) -> Outcome:
    return Outcome(services.set_enabled(press.ids, True))


@admin.register(schedules.PeriodicTask)
class ThemedPeriodicTaskAdmin(VerbAdmin, beat.PeriodicTaskAdmin, ModelAdmin):
    """What runs by the clock. Pause it here; beat writes back what schedule.py says of intervals when it starts."""

    form = PeriodicTaskForm
    # Beat's own template adds a script in line, which our Content-Security-Policy refuses.
    change_form_template = None  # type: ignore[assignment]
    date_hierarchy = None  # type: ignore[assignment]
    list_filter = ["enabled"]
    verbs = (
        Verb(
            "pause",
            "Pause",
            "The task does not run until it is resumed. Without `relay` events go out only by wake-ups, without `inbox` "
            "failed results are not tried again, without `overdue` nobody notices late results.",
            _pause,
            ("enabled",),
            lambda row: row.enabled,
            dangerous=True,
        ),
        Verb(
            "resume", "Resume", "The task runs by the clock again.", _resume, ("enabled",), lambda row: not row.enabled
        ),
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Beat's page warns when its own scheduler class is not in use; ours is made of it."""
        return ModelAdmin.changelist_view(self, request, extra_context)


class PeriodicTaskInline(beat.PeriodicTaskInline, TabularInline):
    """Who uses a schedule."""


class ScheduleAdmin(ModelAdmin):
    """One kind of schedule with the tasks that use it."""

    inlines = (PeriodicTaskInline,)


admin.site.register([schedules.IntervalSchedule, schedules.SolarSchedule], ScheduleAdmin)


@admin.register(schedules.CrontabSchedule)
class ThemedCrontabAdmin(ScheduleAdmin):
    """In words and in fields."""

    list_display = ("__str__", "human_readable")
    readonly_fields = ("human_readable",)
    fields = ("human_readable", "minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")


@admin.register(schedules.ClockedSchedule)
class ThemedClockedAdmin(ScheduleAdmin):
    """At one moment."""

    list_display = ("clocked_time",)
