"""What became of each Celery task, and which events and results it moved."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django_celery_results.models import GroupResult, TaskResult
from unfold.decorators import display

from outbox import masking
from outbox import services as outbox
from outbox.ages import AgeFilter, id_at
from outbox.ledger import LedgerAdmin
from outbox.neighbours import MAX_ROWS, Panel, row_panel
from webhooks.models import InboxMessage

# The product starts no groups of tasks.
admin.site.unregister([TaskResult, GroupResult])

COLOURS = {"SUCCESS": "success", "FAILURE": "danger", "RETRY": "warning", "STARTED": "info", "PENDING": "info"}
# The tasks that apply results and that publish events. A run notes only counts, so its rows are found by the time.
APPLYING = ("webhooks.apply_results", "scheduler.sweep_inbox")
RELAYING = ("scheduler.relay",)
# How long one run may take at most (their budgets, and a little); and how many results are looked through.
RUN = timedelta(seconds=25)
LOOK_THROUGH = 1000


class StatusFilter(admin.SimpleListFilter):
    """Celery's states that a finished task can have here."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """As Celery writes them."""
        return [(name, name) for name in COLOURS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskResult]) -> QuerySet[TaskResult]:
        """A value that nobody offered changes nothing."""
        return queryset.filter(status=self.value()) if self.value() in COLOURS else queryset


@admin.register(TaskResult)
class TaskResultAdmin(LedgerAdmin):
    """Task results are for operators; what is true of transactions stands in our own tables."""

    list_display = ("task_id", "task_name", "periodic_task_name", "shown_status", "shown_result", "worker", "date_done")
    list_filter = (StatusFilter, AgeFilter)
    search_fields = ("task_id",)
    search_help_text = "Task id (an event's id, for tasks of the Consumer), or a task's name"
    fieldsets = (
        (None, {"fields": ("task_id", "task_name", "periodic_task_name", "shown_status", "worker")}),
        ("Times", {"fields": ("date_created", "date_started", "date_done")}),
        ("What it was given, what it gave", {"fields": ("task_args", "task_kwargs", "result", "shown_traceback")}),
    )
    masked = {
        "task_args": "masked_args",
        "task_kwargs": "masked_kwargs",
        "result": "masked_result",
        "shown_result": "masked_result",
        "shown_traceback": "masked_traceback",
    }

    def search(self, request: HttpRequest, rows: QuerySet[TaskResult], term: str) -> QuerySet[TaskResult]:
        """By the two that have an index."""
        one = TaskResult.objects.filter(task_id=term)
        return rows.filter(pk__in=one.values("pk")) if one.exists() else rows.filter(task_name=term)

    def own_panels(self, request: HttpRequest, row: TaskResult) -> list[Panel]:
        """What its run moved."""
        if row.task_name in APPLYING and request.user.has_perm("webhooks.view_inboxmessage"):
            return [_results_during(row)]
        if row.task_name in RELAYING and request.user.has_perm("outbox.view_outboxmessage"):
            return [_events_during(row)]
        return []

    @display(description="status", label=COLOURS)
    def shown_status(self, row: TaskResult) -> str:
        """In colour."""
        return str(row.status)

    @admin.display(description="result")
    def shown_result(self, row: TaskResult) -> str:
        """Its beginning."""
        return (row.result or "")[:80]

    @admin.display(description="traceback")
    def shown_traceback(self, row: TaskResult) -> str:
        """As it was."""
        return format_html('<pre class="ledger-body">{}</pre>', row.traceback or "-")

    @admin.display(description="args")
    def masked_args(self, row: TaskResult) -> str:
        """Without figures."""
        return masking.mask_text(row.task_args or "-")

    @admin.display(description="kwargs")
    def masked_kwargs(self, row: TaskResult) -> str:
        """Without figures."""
        return masking.mask_text(row.task_kwargs or "-")

    @admin.display(description="result")
    def masked_result(self, row: TaskResult) -> str:
        """Without figures, and not all of an error: it may quote a row."""
        return masking.mask_text(row.result or "-")[:200]

    @admin.display(description="traceback")
    def masked_traceback(self, row: TaskResult) -> str:
        """The last line of it, without figures."""
        return masking.mask_text((row.traceback or "-").strip().rsplit("\n", 1)[-1])


def _results_during(row: TaskResult) -> Panel:
    ended = id_at(InboxMessage, "received_at", row.date_done)
    recent = InboxMessage.objects.filter(pk__lt=ended or 0).order_by("-pk").defer("body")[:LOOK_THROUGH]
    during = [
        found for found in recent if found.applied_at and row.date_done - RUN <= found.applied_at <= row.date_done
    ]
    rows = [
        [_page("webhooks_inboxmessage", found.pk, found.webhook_id), found.state, found.applied_at]
        for found in during[:MAX_ROWS]
    ]
    title = f"Results applied in the {RUN.seconds} seconds before it ended"
    return Panel(title, ["webhook-id", "state", "applied"], rows, reverse("admin:webhooks_inboxmessage_changelist"))


def _events_during(row: TaskResult) -> Panel:
    events = outbox.published_between(row.date_done - RUN, row.date_done, MAX_ROWS)
    rows = [
        [_page("outbox_outboxmessage", event.id, event.type), event.channel, event.delivered_at] for event in events
    ]
    title = f"Events sent in the {RUN.seconds} seconds before it ended, by whichever relay"
    return Panel(title, ["event", "channel", "sent"], rows, reverse("admin:outbox_outboxmessage_changelist"))


@row_panel("webhooks.inboxmessage", "django_celery_results.view_taskresult")
def runs_that_applied(request: HttpRequest, row: Any) -> Panel | None:
    """The runs that ended next after the result was applied: one of them did it."""
    return _runs(APPLYING, row.applied_at, "Task runs that may have applied it") if row.applied_at else None


@row_panel("outbox.outboxmessage", "django_celery_results.view_taskresult")
def runs_of_event(request: HttpRequest, row: Any) -> Panel | None:
    """The relay's runs that ended next after it was sent; the standing relay is no task and leaves none."""
    return _runs(RELAYING, row.published_at, "Task runs that may have sent it") if row.published_at else None


def _runs(names: tuple[str, ...], moment: Any, title: str) -> Panel:
    found = TaskResult.objects.filter(date_done__gte=moment, date_done__lte=moment + RUN).order_by("date_done")[
        :MAX_ROWS
    ]
    rows = [
        [
            _page("django_celery_results_taskresult", run.pk, run.task_name),
            run.status,
            getattr(run, "worker", "-"),
            run.date_done,
        ]
        for run in found
        if run.task_name in names
    ]
    return Panel(title, ["task", "status", "worker", "ended"], rows)


def _page(name: str, pk: Any, text: Any) -> str:
    return format_html('<a href="{}" class="text-link">{}</a>', reverse(f"admin:{name}_change", args=[pk]), text)
