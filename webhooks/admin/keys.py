"""Webhook keys: by id only, with rotate and retire; a secret is shown once, when it is made."""

from datetime import timedelta

from django.contrib import admin
from django.db import transaction

from outbox.ledger import LedgerAdmin
from outbox.verbs import Outcome, Press, Verb
from webhooks import key_store, keys
from webhooks.models import WebhookKey

# How long the old keys stay active after a rotation from the admin; `manage.py webhook_keys` takes any other.
OVERLAP = timedelta(hours=24)


def _rotate(press: Press) -> Outcome:
    row = WebhookKey.objects.get(pk=press.ids[0])
    if row.kind == WebhookKey.Kind.PUBLIC:
        text = "A Consumer's public key follows its own: manage.py webhook_keys rotate --public whpk_…"
        return Outcome(0, refusal=text)
    if row.retire_at is not None:
        text = "This key ends already: another follows it. Rotate that one."
        return Outcome(0, refusal=text)
    signing = row.kind == WebhookKey.Kind.SIGNING
    made, old = key_store.rotate(row.direction, OVERLAP, ed25519=signing, note=press.reason[:255])
    transaction.on_commit(keys.forget, robust=True)
    note = f"{made.row.key_id} follows; these end in 24 h: {', '.join(old)}"
    what = "Give the Consumer this public key" if made.row.public else "Give the Consumer this secret"
    return Outcome(1, {row.pk: note}, [(f"{what} ({made.row.key_id}). The old keys end in 24 hours.", made.hand_out)])


def _retire(press: Press) -> Outcome:
    ids = [int(pk) for pk in press.ids]
    # All of them: two people who retire one of the last two each must not leave none.
    list(WebhookKey.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
    if bare := key_store.bare_without(ids):
        return Outcome(0, refusal=f"That leaves no key for: {', '.join(bare)}. Rotate first.")
    changed = key_store.retire(ids)
    transaction.on_commit(keys.forget, robust=True)
    return Outcome(changed)


@admin.register(WebhookKey)
class WebhookKeyAdmin(LedgerAdmin):
    """Keys in the database, beside those from settings."""

    list_display = ("key_id", "direction", "kind", "not_before", "retire_at", "last_used_at", "note")
    fields = ("key_id", "direction", "kind", "public", "not_before", "retire_at", "last_used_at", "created_at", "note")
    verbs = (
        Verb(
            "rotate",
            "Rotate",
            "A new key of this kind is made and shown once; all older keys of its direction end in 24 hours. Until then both "
            "work: hand the new one over in that time.",
            _rotate,
            ("retire_at",),
            lambda row: row.kind != WebhookKey.Kind.PUBLIC and row.retire_at is None,
            single=True,
        ),
        Verb(
            "retire",
            "Retire",
            "The key ends now: what is signed with it is refused from then on. The last key of a direction cannot be retired.",
            _retire,
            ("retire_at",),
            dangerous=True,
        ),
    )
