"""Who may do what in the admin, as data; and the function that writes it to the database, as often as you like."""

from collections.abc import Iterable
from typing import Any

# The verbs of the admin, each with a permission of its own: "requeue_outboxmessage".
VERBS = {
    ("outbox", "outboxmessage"): ("requeue", "discard"),
    ("outbox", "channelstate"): ("enable",),
    ("transactions", "transaction"): ("cancel", "resend"),
    ("transactions", "apiclient"): ("newkey", "activate", "deactivate"),
    ("transactions", "apikey"): ("revoke",),
    ("webhooks", "inboxmessage"): ("reapply", "discard"),
    ("webhooks", "webhookkey"): ("rotate", "retire"),
    ("django_celery_beat", "periodictask"): ("pause", "resume"),
    ("auth", "user"): ("forgetfactor",),
    ("axes", "accessattempt"): ("unlock",),
}
FIGURES = ("transactions", "transaction", "view_figures", "Can see amounts and account numbers")
LEDGERS = [
    ("outbox", "outboxmessage"),
    ("outbox", "channelstate"),
    ("transactions", "transaction"),
    ("transactions", "historyentry"),
    ("transactions", "apiclient"),
    ("transactions", "apikey"),
    ("transactions", "idempotencykey"),
    ("webhooks", "inboxmessage"),
    ("webhooks", "reusedwebhookid"),
    ("webhooks", "webhookkey"),
    ("django_celery_results", "taskresult"),
    ("django_celery_beat", "periodictask"),
]
AUDIT = [
    ("admin", "logentry"),
    ("auth", "user"),
    ("auth", "group"),
    ("axes", "accessattempt"),
    ("axes", "accesslog"),
]

OPERATOR, AUDITOR, SEES_FIGURES = "operator", "auditor", "sees figures"


def install(apps: Any) -> list[str]:
    """Makes the permissions and puts each role to what stands here; other permissions of a role are taken from it.

    `apps` is Django's registry, or a migration's. Returns the roles' names.
    """
    verbs = [
        _permission(apps, *model, f"{verb}_{model[1]}", f"Can {verb} {model[1]}")
        for model in VERBS
        for verb in VERBS[model]
    ]
    people = [permission for permission in verbs if permission.content_type.app_label in {"auth", "axes"}]
    figures = _permission(apps, *FIGURES)
    ledgers = _views(apps, LEDGERS)
    _role(apps, OPERATOR, [*ledgers, *(permission for permission in verbs if permission not in people)])
    _role(apps, AUDITOR, [*ledgers, *_views(apps, AUDIT), figures])
    _role(apps, SEES_FIGURES, [figures])
    return [OPERATOR, AUDITOR, SEES_FIGURES]


def _views(apps: Any, models: Iterable[tuple[str, str]]) -> list[Any]:
    return [_permission(apps, app, model, f"view_{model}", f"Can view {model}") for app, model in models]


def _permission(apps: Any, app: str, model: str, codename: str, name: str) -> Any:
    # Django makes content types and its own permissions after the migrations; what is there by then it leaves alone.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(app_label=app, model=model)
    permissions = apps.get_model("auth", "Permission").objects
    return permissions.get_or_create(content_type=content_type, codename=codename, defaults={"name": name})[0]


def _role(apps: Any, name: str, permissions: Iterable[Any]) -> None:
    role, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
    role.permissions.set(permissions)
