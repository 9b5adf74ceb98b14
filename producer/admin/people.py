"""Users, roles and failed log-ins."""

from ipaddress import ip_address
from typing import Any

from axes.models import AccessAttempt, AccessLog
from axes.utils import reset
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from outbox.ledger import LedgerAdmin
from outbox.verb_pages import VerbAdmin
from outbox.verbs import Outcome, Press, Verb
from producer import second_factor

admin.site.unregister([User, Group])


def _forget(press: Press) -> Outcome:
    ids = [int(pk) for pk in press.ids]
    changed = second_factor.forget(ids)
    return Outcome(changed, dict.fromkeys(ids, "second factor forgotten") if changed else {})


def _unlock(press: Press) -> Outcome:
    return Outcome(sum(reset(username=row.username) for row in AccessAttempt.objects.filter(pk__in=press.ids)))


class NamedPermissions:
    """The page of one row names its permissions, each with its content type: read all at once, not one by one."""

    permissions_field: str

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With its permissions."""
        row = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        if row is not None:
            named = Permission.objects.select_related("content_type")
            prefetch_related_objects([row], Prefetch(self.permissions_field, named))
        return row


@admin.register(User)
class OperatorAdmin(NamedPermissions, VerbAdmin, UserAdmin, ModelAdmin):
    """People who may log in, with their roles."""

    permissions_field = "user_permissions"

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    verbs = (
        Verb(
            "forgetfactor",
            "Forget second factor",
            "The person enrols a new authenticator app at the next log-in, with the password alone. Make sure that it is "
            "the person who asks.",
            _forget,
            (),
            dangerous=True,
        ),
    )


@admin.register(Group)
class RoleAdmin(NamedPermissions, GroupAdmin, ModelAdmin):
    """Roles: what their people may see and do. `manage.py create_roles` puts back what the product says."""

    permissions_field = "permissions"


@admin.register(AccessAttempt)
class FailedLogInAdmin(LedgerAdmin):
    """Wrong passwords by name and address; enough of them lock the pair out for a while."""

    list_display = ("attempt_time", "username", "ip_address", "failures_since_start", "user_agent")
    fields = ("attempt_time", "username", "ip_address", "failures_since_start", "user_agent", "path_info")
    search_fields = ("username",)
    search_help_text = "User name or address"
    verbs = (
        Verb("unlock", "Unlock", "The failed tries of this user name are forgotten, from every address.", _unlock, ()),
    )

    def search(self, request: HttpRequest, rows: QuerySet[AccessAttempt], term: str) -> QuerySet[AccessAttempt]:
        """Both have an index."""
        try:
            return rows.filter(ip_address=str(ip_address(term)))
        except ValueError:
            return rows.filter(username=term)


@admin.register(AccessLog)
class LogInAdmin(LedgerAdmin):
    """Who logged in when, from where."""

    list_display = ("attempt_time", "username", "ip_address", "logout_time", "user_agent")
    fields = ("attempt_time", "username", "ip_address", "logout_time", "user_agent", "path_info")
    search_fields = ("username",)
    search_help_text = "User name"

    def search(self, request: HttpRequest, rows: QuerySet[AccessLog], term: str) -> QuerySet[AccessLog]:
        """By an index."""
        return rows.filter(username=term)
