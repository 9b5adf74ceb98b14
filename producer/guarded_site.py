"""An admin site behind a second factor: log-in, enrolment, and the pages for both."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django_otp import login as remember
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldAdminTextInputWidget

from producer import second_factor


class CodeForm(forms.Form):
    """One field; browsers offer what the phone shows."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "autocapitalize": "off", "spellcheck": "false"}
        ),
    )


class GuardedSite(UnfoldAdminSite):
    """Asks for the second factor where ADMIN_SECOND_FACTOR says so; anybody may enrol one anyhow."""

    def get_urls(self) -> list[URLPattern]:
        """One more, for people who are logged in but not through."""
        guard = csrf_protect(never_cache(self.second_factor))
        found: list[URLPattern] = super().get_urls()
        return [path("second-factor/", guard, name="second-factor"), *found]

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff, and verified where that is asked for."""
        if not super().has_permission(request):
            return False
        return not settings.ADMIN_SECOND_FACTOR or verified(request)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Whoever has given the password goes on to the code."""
        if _may_prove(request) and not self.has_permission(request):
            query = f"?next={_next(request)}"
            return HttpResponseRedirect(f"{reverse('admin:second-factor')}{query}")
        answer: HttpResponse = super().login(request, extra_context)
        return answer

    def second_factor(self, request: HttpRequest) -> HttpResponse:
        """Asks for a code; before that enrols who has none; for those who are through, new recovery codes."""
        if not _may_prove(request):
            return redirect_to_login(request.path, reverse("admin:login"))
        if request.method == "POST" and "logout" in request.POST:
            logout(request)
            return HttpResponseRedirect(reverse("admin:login"))
        if not second_factor.enrolled(request.user):
            return self._enrol(request)
        if not verified(request):
            return self._prove(request)
        if request.method == "POST" and "codes" in request.POST:
            return self._show_codes(request, second_factor.new_recovery_codes(request.user))
        return self._page(request, {"step": "done"})

    def _prove(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST or None)
        if form.is_valid():
            with transaction.atomic():
                device = second_factor.check(request.user, form.cleaned_data["code"])
            if device is not None:
                _let_in(request, device)
                return HttpResponseRedirect(_next(request))
            form.add_error("code", "Wrong, used already, or too many tries: wait half a minute and take the next code.")
        return self._page(request, {"step": "prove", "form": form})

    def _enrol(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST or None)
        if form.is_valid():
            made = second_factor.enrol(request.user, form.cleaned_data["code"])
            if made is not None:
                _let_in(request, made[0])
                return self._show_codes(request, made[1])
            form.add_error("code", "That is not what the app shows now. Is the phone's clock right?")
        device = second_factor.pending_device(request.user)
        shown = {"picture": second_factor.picture_of(device), "secret": second_factor.secret_of(device)}
        return self._page(request, {"step": "enrol", "form": form, **shown})

    def _show_codes(self, request: HttpRequest, codes: list[str]) -> HttpResponse:
        return self._page(request, {"step": "codes", "codes": codes})

    def _page(self, request: HttpRequest, shown: dict[str, Any]) -> HttpResponse:
        context = {**self.each_context(request), "title": "Second factor", "next": _next(request), **shown}
        return render(request, "producer/second_factor.html", context)


def verified(request: HttpRequest) -> bool:
    """Whether this session has shown a code. AdminMiddleware puts the device there."""
    return getattr(request.user, "otp_device", None) is not None


def _may_prove(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.is_authenticated and user.is_active and user.is_staff)


def _let_in(request: HttpRequest, device: Any) -> None:
    # A new session id: the old one was worth less and may have been seen.
    request.session.cycle_key()
    remember(request, device)


def _next(request: HttpRequest) -> str:
    asked = request.POST.get("next") or request.GET.get("next") or ""
    allowed = url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure())
    return asked if allowed and not asked.startswith(reverse("admin:login")) else reverse("admin:index")
