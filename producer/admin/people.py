"""Users and roles in our theme."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

admin.site.unregister([User, Group])


@admin.register(User)
class OperatorAdmin(UserAdmin, ModelAdmin):
    """People who may log in, with their roles."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):
    """Roles: what their people may see and do. `manage.py create_roles` puts back what the product says."""
