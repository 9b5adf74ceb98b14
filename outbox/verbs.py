"""What an operator may do to rows: each verb with a confirmation page, a reason, a permission and an audit entry."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, models, transaction
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

audit_log = logging.getLogger("audit")

# Rows of one press. More belong to the command line, where somebody can watch them.
MAX_ROWS = 200


@dataclass(frozen=True, slots=True)
class Press:
    """Who pressed, why, and on which rows."""

    ids: Sequence[Any]
    reason: str
    username: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many rows changed; what is shown this once (a new key); or why nothing was done.

    `notes` stand in the audit log of their rows: what the verb did that no field of the row tells.
    """

    changed: int
    notes: Mapping[Any, str] = field(default_factory=dict)
    secrets: Sequence[tuple[str, str]] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing an operator may do. `run` calls one service function, which decides by the rows' own state.

    So a second press, or one in another browser, changes nothing. `audited` fields stand before and after in the log.
    """

    name: str
    title: str
    consequence: str
    run: Callable[[Press], Outcome]
    audited: tuple[str, ...]
    applies: Callable[[Any], bool] = field(default=lambda _: True)
    single: bool = False
    dangerous: bool = False
    # The order in which everybody else locks these rows, so that nobody deadlocks with a press.
    lock_order: tuple[str, ...] = ("pk",)


class ReasonForm(forms.Form):
    """The reason: what the next person will want to know."""

    reason = forms.CharField(
        label="Reason",
        min_length=5,
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}),
        help_text="Stands in the audit log beside your name. No account numbers, no secrets.",
    )


class BusyError(Exception):
    """Somebody else holds the rows; nothing was changed."""


def press(verb: Verb, model: type[models.Model], request: HttpRequest, ids: Sequence[Any], reason: str) -> Outcome:
    """Runs the verb and writes the audit entries of the rows that it changed, in one database transaction.

    The rows are locked first: of two presses at once the second sees what the first did, and changes nothing. Raises
    BusyError.
    """
    try:
        with transaction.atomic():
            before = _snapshot(verb, model, ids)
            outcome = verb.run(Press(ids, reason, request.user.get_username()))
            _write_log(verb, model, request, reason, before, _snapshot(verb, model, ids), outcome.notes)
    except OperationalError as error:
        raise BusyError from error
    return outcome


def _snapshot(verb: Verb, model: type[models.Model], ids: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    rows = model._default_manager.select_for_update(of=("self",)).filter(pk__in=ids).order_by(*verb.lock_order)
    return {row.pk: {"": str(row), **{name: _plain(getattr(row, name)) for name in verb.audited}} for row in rows}


def _changes(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {was[name] or '-'} → {value or '-'}" for name, value in now.items() if name and was[name] != value
    ]


def _plain(value: Any) -> str:
    if isinstance(value, str | int | bool) or value is None:
        return str(value)
    return value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else str(value)


def _write_log(
    verb: Verb,
    model: type[models.Model],
    request: HttpRequest,
    reason: str,
    before: Mapping[Any, Mapping[str, str]],
    after: Mapping[Any, Mapping[str, str]],
    notes: Mapping[Any, str],
) -> None:
    content_type = ContentType.objects.get_for_model(model)
    entries = []
    for pk, was in before.items():
        now = after.get(pk)
        changes = ["the row is gone"] if now is None else _changes(was, now)
        if pk in notes:
            changes.append(notes[pk])
        if not changes:
            continue
        entries.append(
            LogEntry(
                user_id=str(request.user.pk),
                content_type=content_type,
                object_id=str(pk),
                object_repr=was[""][:200],
                action_flag=CHANGE,
                change_message=f"{verb.title}. Reason: {reason} Changed: {'; '.join(changes)}",
            )
        )
    LogEntry.objects.bulk_create(entries)
    for entry in entries:
        audit_log.info(
            "operator verb",
            extra={"verb": verb.name, "object": f"{model._meta.label_lower} {entry.object_id}", "by": request.user.pk},
        )
