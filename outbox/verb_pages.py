"""The admin pages of verbs: what may be pressed on a row, the confirmation with its reason, the press."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.admin import ModelAdmin

from outbox import verbs
from outbox.verbs import MAX_ROWS, ReasonForm, Verb


class VerbAdmin(ModelAdmin):
    """A page whose rows have verbs: in the list for those that are ticked, on the row's own page for that row."""

    verbs: Sequence[Verb] = ()
    # A press names its rows; "all of a million" is no press.
    list_disable_select_all = True
    change_form_outer_before_template = "ledger/verbs.html"

    def has_verb_permission(self, request: HttpRequest, verb: Verb) -> bool:
        """A permission of its own for each verb: requeue_outboxmessage."""
        return request.user.has_perm(f"{self.opts.app_label}.{verb.name}_{self.opts.model_name}")

    def get_urls(self) -> list[URLPattern]:
        """One more: the confirmation page of each verb."""
        info = f"{self.opts.app_label}_{self.opts.model_name}_verb"
        view = self.admin_site.admin_view(self.verb_view)
        return [path("verb/<slug:name>/", view, name=info), *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The verbs that this person may use; Django's bulk delete is none of them."""
        return {
            verb.name: (_start, verb.name, verb.title) for verb in self.verbs if self.has_verb_permission(request, verb)
        }

    def response_action(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        """Only ticked rows: a forged `select_across` would lock the whole table."""
        posted: Any = request.POST.copy()
        posted["select_across"] = "0"
        request.POST = posted
        return super().response_action(request, queryset, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Read once per request, although this page and Django's both ask for it."""
        asked = (self.model, object_id, from_field)
        known: dict[Any, Any] = request.__dict__.setdefault("_rows_of_admin", {})
        if asked not in known or request.method != "GET":
            known[asked] = super().get_object(request, object_id, from_field)
        return known[asked]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Adds the verbs that may be used on this row now."""
        row = self.get_object(request, object_id)
        offered = [
            {"verb": verb, "url": self.verb_url(verb, row)}
            for verb in self.verbs
            if row is not None and self.has_verb_permission(request, verb) and verb.applies(row)
        ]
        context = {"offered_verbs": offered, **self.more_context(request, row), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def more_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """For subclasses: what else stands on the row's page."""
        return {}

    def verb_url(self, verb: Verb, row: Model) -> str:
        """The confirmation page for one row."""
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_verb", args=[verb.name])
        back = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])
        return f"{url}?{urlencode({'ids': row.pk, 'next': back})}"

    def verb_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Shows what will happen to which rows; does it when a reason is given."""
        verb = next((verb for verb in self.verbs if verb.name == name), None)
        if verb is None:
            raise Http404
        if not self.has_verb_permission(request, verb) or not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.POST if request.method == "POST" else request.GET
        rows = self._rows(request, asked.getlist("ids"))
        back = self._back(request, asked.get("next", ""))
        if not rows or (verb.single and len(rows) != 1):
            text = "Choose exactly one row." if rows else "Choose rows that are there still."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(back)
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            return self._press(request, verb, rows, form.cleaned_data["reason"], back)
        context = {
            **self.admin_site.each_context(request),
            "title": verb.title,
            "opts": self.opts,
            "verb": verb,
            "rows": [(row, verb.applies(row), self.row_summary(row)) for row in rows],
            "form": form,
            "next": back,
        }
        return render(request, "ledger/confirm.html", context)

    def row_summary(self, row: Any) -> str:
        """How a row stands in the confirmation: the audited fields' values now. Never amounts."""
        return ", ".join(f"{name} {getattr(row, name)}" for name in ("state", "status") if hasattr(row, name))

    def _rows(self, request: HttpRequest, texts: list[str]) -> list[Any]:
        to_python = self.opts.pk.to_python
        try:
            ids = [to_python(text) for text in texts[:MAX_ROWS]]
        except Exception:  # ValidationError, and whatever a primary key makes of rubbish
            return []
        return list(self.get_queryset(request).filter(pk__in=ids).order_by("pk"))

    def _back(self, request: HttpRequest, asked: str) -> str:
        if asked and url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure()):
            return asked
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def _press(self, request: HttpRequest, verb: Verb, rows: list[Any], reason: str, back: str) -> HttpResponse:
        try:
            outcome = verbs.press(verb, self.model, request, [row.pk for row in rows], reason)
        except verbs.BusyError:
            self.message_user(request, "Busy: somebody holds these rows. Nothing was changed; again.", messages.ERROR)
            return HttpResponseRedirect(back)
        if outcome.refusal:
            self.message_user(request, outcome.refusal, messages.ERROR)
        elif outcome.secrets:
            # In this one answer: a message would lie in a cookie or a session.
            context = {"title": verb.title, "secrets": outcome.secrets, "next": back, "opts": self.opts}
            answer = render(request, "ledger/once.html", {**self.admin_site.each_context(request), **context})
            answer["Cache-Control"] = "no-store"
            return answer
        elif outcome.changed:
            self.message_user(request, f"{verb.title}: {outcome.changed} of {len(rows)} changed.", messages.SUCCESS)
        else:
            text = f"{verb.title}: nothing to change. It was done already, or the row moved on meanwhile."
            self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(back)


def _start(model_admin: VerbAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
    """The list's action: on to the confirmation."""
    chosen = [("ids", pk) for pk in request.POST.getlist("_selected_action")[:MAX_ROWS]]
    name = f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}_verb"
    query = urlencode([*chosen, ("next", request.get_full_path())])
    return HttpResponseRedirect(f"{reverse(name, args=[request.POST['action']])}?{query}")
