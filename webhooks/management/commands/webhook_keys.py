"""Keys of webhooks in the database: list, add, rotate, retire, reseal. A new secret is printed once, as the last line."""

import re
from datetime import timedelta
from typing import Any

from cryptography.fernet import InvalidToken
from django.core.management.base import BaseCommand, CommandError, CommandParser

from outbox.clock import database_now
from webhooks import key_store, keys
from webhooks.key_store import KeyRequestError, NewKey
from webhooks.models import WebhookKey
from webhooks.signing_keys import KeyFormatError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Results on their way, the senders' settings and every process's picture of the keys must change over in the overlap.
MIN_OVERLAP = timedelta(minutes=1)


def duration(text: str) -> timedelta:
    """90s, 30m, 24h, 7d. Raises CommandError."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise CommandError(f"'{text}' is no duration: write 90s, 30m, 24h or 7d.")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


class Command(BaseCommand):
    """manage.py webhook_keys list|add|rotate|retire|reseal."""

    help = "Shows and changes the keys of webhooks in the database; those from settings go on beside them."

    def add_arguments(self, parser: CommandParser) -> None:
        """One verb with its options."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="every key with its times, from settings too; never a secret")
        add = verbs.add_parser("add", help="one more active key")
        rotate = verbs.add_parser("rotate", help="a new key; the old ones of its direction end after the overlap")
        rotate.add_argument("--overlap", default="24h", help="how long the old ones stay active (default: 24h)")
        for verb in (add, rotate):
            verb.add_argument("--direction", required=True, choices=WebhookKey.Direction.values)
            verb.add_argument("--public", default="", metavar="whpk_…", help="of a Consumer that signs with ed25519")
            verb.add_argument("--ed25519", action="store_true", help="a pair of ours, to sign fallback POSTs with")
            verb.add_argument("--note", default="", help="for people; shown in list and admin")
        retire = verbs.add_parser("retire", help="end keys now, or later with --in")
        retire.add_argument("key_ids", nargs="+")
        retire.add_argument("--direction", choices=WebhookKey.Direction.values)
        retire.add_argument("--in", dest="after", default="0s", help="24h: end them then (default: now)")
        retire.add_argument("--force", action="store_true", help="even when no active key is left")
        verbs.add_parser("reseal", help="seal every secret with today's SECRET_KEY, before its fallbacks go")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what changed."""
        try:
            getattr(self, f"_{options['verb']}")(options)
        except (KeyRequestError, KeyFormatError) as error:
            raise CommandError(str(error)) from None
        except InvalidToken:
            raise CommandError(
                "A secret cannot be opened: add the SECRET_KEY of then to SECRET_KEY_FALLBACKS."
            ) from None
        finally:
            keys.forget()

    def _list(self, options: dict[str, Any]) -> None:
        now = database_now()
        for row in WebhookKey.objects.order_by("direction", "id"):
            state = "active" if row.not_before <= now else "not yet"
            if row.retire_at:
                state = "retired" if row.retire_at <= now else f"until {row.retire_at:%Y-%m-%d %H:%MZ}"
            used = f"{row.last_used_at:%Y-%m-%d %H:%MZ}" if row.last_used_at else "never"
            self.stdout.write(
                f"{row.direction:9}{row.key_id:10}{row.kind:9}{state:24}used {used:18} {row.note}".rstrip()
            )
        for direction in WebhookKey.Direction.values:
            for key in keys.from_settings(direction):
                self.stdout.write(f"{direction:9}{key.key_id:10}settings")

    def _add(self, options: dict[str, Any]) -> None:
        made = key_store.add(
            options["direction"], public=options["public"], ed25519=options["ed25519"], note=options["note"]
        )
        self._show(made)

    def _rotate(self, options: dict[str, Any]) -> None:
        overlap = duration(options["overlap"])
        if overlap < MIN_OVERLAP:
            raise CommandError("--overlap is less than 1m. Against a stolen key: add, change the senders, retire.")
        made, old = key_store.rotate(
            options["direction"],
            overlap,
            public=options["public"],
            ed25519=options["ed25519"],
            note=options["note"],
        )
        self.stdout.write(f"End in {options['overlap']}: {', '.join(old) or 'none in the database'}")
        if left := [key.key_id for key in keys.from_settings(options["direction"])]:
            self.stdout.write(f"From settings, active until you remove them there: {', '.join(left)}")
        self._show(made)

    def _retire(self, options: dict[str, Any]) -> None:
        after = duration(options["after"])
        rows = WebhookKey.objects.filter(key_id__in=options["key_ids"])
        if options["direction"]:
            rows = rows.filter(direction=options["direction"])
        found = list(rows)
        if missing := set(options["key_ids"]) - {row.key_id for row in found}:
            raise CommandError(f"Not in the database: {', '.join(sorted(missing))}. See webhook_keys list.")
        if len(found) != len(set(options["key_ids"])):
            raise CommandError("That id stands in both directions: name one with --direction.")
        if not options["force"] and (bare := key_store.bare_without([row.id for row in found])):
            raise CommandError(f"That leaves no key for: {', '.join(bare)}. Add one first, or use --force.")
        changed = key_store.retire([row.id for row in found], after)
        self.stdout.write(f"retire: {changed} of {len(found)} keys changed")

    def _reseal(self, options: dict[str, Any]) -> None:
        self.stdout.write(f"reseal: {key_store.reseal()} keys changed")

    def _show(self, made: NewKey) -> None:
        row = made.row
        what = (
            "Give the Consumer this public key"
            if row.public
            else "Give the Consumer this secret; it is shown this once"
        )
        if row.kind == WebhookKey.Kind.PUBLIC:
            what = "Results signed with its other half are accepted"
        self.stdout.write(f"Key {row.key_id} ({row.direction}, {row.kind}). {what}:")
        self.stdout.write(made.hand_out)
