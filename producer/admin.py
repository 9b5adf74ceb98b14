"""Other packages' pages in our theme: users, groups, the audit log, schedules, task results."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django_celery_beat import admin as beat
from django_celery_beat import models as schedules
from django_celery_results.admin import GroupResultAdmin, TaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from outbox.ledger import LedgerAdmin

for model in (
    User,
    Group,
    TaskResult,
    GroupResult,
    schedules.PeriodicTask,
    schedules.IntervalSchedule,
    schedules.CrontabSchedule,
    schedules.SolarSchedule,
    schedules.ClockedSchedule,
):
    admin.site.unregister(model)


@admin.register(User)
class OperatorAdmin(UserAdmin, ModelAdmin):
    """People who may log in, with their roles."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):
    """Roles: what their people may see and do."""


@admin.register(LogEntry)
class AuditLogAdmin(LedgerAdmin):
    """Who did what to which row, and why. Nobody edits it."""

    list_display = ("action_time", "user", "content_type", "object_repr", "message")
    list_select_related = ("user", "content_type")
    ordering = ("-id",)

    @admin.display(description="what and why")
    def message(self, entry: LogEntry) -> str:
        """The sentence as the object's own history shows it."""
        return entry.get_change_message()


@admin.register(TaskResult)
class ThemedTaskResultAdmin(TaskResultAdmin, LedgerAdmin):
    """What became of each Celery task."""


@admin.register(GroupResult)
class ThemedGroupResultAdmin(GroupResultAdmin, LedgerAdmin):
    """Groups of tasks; the product starts none."""


class TaskWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    """The registered tasks, in the theme's select."""


class PeriodicTaskForm(beat.PeriodicTaskForm):
    """Beat's form; its two fields of its own need the theme's widgets by hand."""

    regtask = beat.TaskChoiceField(label="Task (registered)", required=False, widget=TaskWidget)
    task = forms.CharField(label="Task (custom)", required=False, max_length=200, widget=UnfoldAdminTextInputWidget)


@admin.register(schedules.PeriodicTask)
class ThemedPeriodicTaskAdmin(beat.PeriodicTaskAdmin, ModelAdmin):
    """What runs by the clock. Pause it here; beat writes back what schedule.py says when it starts."""

    form = PeriodicTaskForm
    # Beat's own template adds a script in line, which our Content-Security-Policy refuses.
    change_form_template = None  # type: ignore[assignment]
    date_hierarchy = None  # type: ignore[assignment]

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
