"""Logging in to the admin: locked out after wrong passwords, a second factor where it is asked for, roles as written."""

import re

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client, RequestFactory
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from producer import roles, second_factor
from producer.admin_middleware import client_address
from producer.checks import second_factor_is_asked_for

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_hashes(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def user(db):
    return User.objects.create_superuser("olga", password=PASSWORD)


def log_in(client, password=PASSWORD, name="olga", **extra):
    return client.post("/admin/login/?next=/admin/", {"username": name, "password": password}, **extra)


def code_of(device, steps=0):
    return f"{totp(device.bin_key, drift=steps):06d}"


# --- lock-out


def test_five_wrong_passwords_lock_the_name_out_from_that_address_even_with_the_right_one(client, user):
    for _ in range(4):
        assert log_in(client, "wrong").status_code == 200
    assert log_in(client, "wrong").status_code == 429
    answer = log_in(client)
    assert answer.status_code == 429 and b"Locked out" in answer.content and "_auth_user_id" not in client.session
    assert log_in(Client(), REMOTE_ADDR="10.0.0.9").status_code == 302, "another address is somebody else"


def test_the_lock_ends_by_itself(client, user, settings):
    for _ in range(5):
        log_in(client, "wrong")
    settings.AXES_COOLOFF_TIME = 1e-9
    assert log_in(client).status_code == 302


def test_an_administrator_unlocks(client, user):
    for _ in range(5):
        log_in(client, "wrong")
    chief = Client()
    chief.force_login(User.objects.create_superuser("chief"))
    row = AccessAttempt.objects.get()
    posted = {"ids": row.pk, "confirmed": "yes", "reason": "She called me herself"}
    chief.post("/admin/axes/accessattempt/verb/unlock/", posted)
    assert log_in(client).status_code == 302
    assert b"She called me herself" in chief.get("/admin/admin/logentry/").content


def test_the_lock_out_of_a_person_leaves_api_clients_alone(api, user):
    for _ in range(6):
        log_in(api.client, "wrong")
    assert api.create().status_code == 201
    for _ in range(10):
        assert api.get("transactions", Authorization="Bearer wrong").status_code == 401
    assert api.get("transactions").status_code == 200


@pytest.mark.parametrize(
    ("behind", "forwarded", "expected"),
    [
        (False, "1.2.3.4", "10.0.0.1"),
        (True, "1.2.3.4", "1.2.3.4"),
        (True, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (True, "1.2.3.4, garbage", "10.0.0.1"),
        (True, None, "10.0.0.1"),
        (True, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_address_is_the_proxys_word_and_never_the_clients(settings, behind, forwarded, expected):
    settings.BEHIND_TLS_PROXY = behind
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers=headers)) == expected


def test_behind_the_proxy_a_forged_header_does_not_make_a_new_address(client, user, settings):
    settings.BEHIND_TLS_PROXY = True
    for number in range(5):
        answer = log_in(client, "wrong", headers={"X-Forwarded-For": f"9.9.9.{number}, 1.2.3.4"})
    assert answer.status_code == 429


# --- the second factor


@pytest.fixture
def required(settings):
    settings.ADMIN_SECOND_FACTOR = True


def test_without_the_setting_the_password_is_enough(client, user):
    assert log_in(client)["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_the_password_alone_opens_no_page_and_leads_to_enrolment(client, user, required):
    log_in(client)
    for path in ("/admin/", "/admin/transactions/transaction/", "/admin/auth/user/", "/admin/password_change/"):
        answer = client.get(path, follow=True)
        assert answer.redirect_chain[-1][0].startswith("/admin/second-factor/"), path
    assert b"data:image/svg+xml;base64," in answer.content


def test_a_person_enrols_with_a_code_gets_recovery_codes_once_and_is_in(client, user, required):
    log_in(client)
    client.get("/admin/second-factor/")
    device = TOTPDevice.objects.get()
    assert second_factor.secret_of(device) in client.get("/admin/second-factor/").content.decode()
    assert client.post("/admin/second-factor/", {"code": "000000"}).status_code == 200
    assert client.get("/admin/").status_code == 302
    TOTPDevice.objects.update(throttling_failure_count=0)
    before = client.session.session_key
    page = client.post("/admin/second-factor/", {"code": code_of(device)})
    codes = set(StaticToken.objects.values_list("token", flat=True))
    assert len(codes) == 10 and all(code in page.content.decode() for code in codes)
    assert client.session.session_key != before
    assert client.get("/admin/").status_code == 200
    again = client.get("/admin/second-factor/").content.decode()
    assert not any(code in again for code in codes) and "data:image" not in again


@pytest.fixture
def device(user):
    made = TOTPDevice.objects.create(user=user, name="app", confirmed=True)
    second_factor.new_recovery_codes(user)
    return made


def test_an_enrolled_person_gives_a_code_and_goes_where_they_wanted(client, user, device, required):
    client.post("/admin/login/?next=/admin/auth/user/", {"username": "olga", "password": PASSWORD})
    page = client.get("/admin/auth/user/", follow=True)
    assert b"data:image" not in page.content and b"otpauth" not in page.content, "the secret is not shown again"
    answer = client.post("/admin/second-factor/", {"code": code_of(device), "next": "/admin/auth/user/"})
    assert answer["Location"] == "/admin/auth/user/" and client.get("/admin/auth/user/").status_code == 200


def test_a_code_counts_once_and_wrong_ones_must_wait(user, device, required):
    code = code_of(device)
    assert second_factor.check(user, code) is not None
    assert second_factor.check(user, code) is None
    device.refresh_from_db()
    assert device.throttling_failure_count == 1
    assert second_factor.check(user, code_of(device, steps=1)) is None, "too soon after a wrong one"


def test_a_recovery_code_opens_once(client, user, device, required):
    code = StaticToken.objects.first().token
    for browser, opens in ((client, True), (Client(), False)):
        log_in(browser)
        browser.post("/admin/second-factor/", {"code": code})
        assert (browser.get("/admin/").status_code == 200) is opens
    assert StaticToken.objects.count() == 9


def test_with_the_password_alone_nobody_adds_a_second_app(client, user, device, required):
    log_in(client)
    client.post("/admin/second-factor/", {"code": "123456"})
    assert second_factor.enrol(user, code_of(device)) is None
    assert TOTPDevice.objects.count() == 1
    codes = set(StaticToken.objects.values_list("token", flat=True))
    client.post("/admin/second-factor/", {"codes": "new"})
    assert set(StaticToken.objects.values_list("token", flat=True)) == codes
    assert client.get("/admin/").status_code == 302


def test_the_factor_of_another_person_does_not_open(client, user, device, required):
    User.objects.create_superuser("eve", password=PASSWORD)
    eve = Client()
    log_in(eve, name="eve")
    eve.post("/admin/second-factor/", {"code": code_of(device)})
    assert eve.get("/admin/").status_code == 302


def test_a_forgotten_factor_closes_open_sessions_and_is_enrolled_anew(client, user, device, required):
    log_in(client)
    client.post("/admin/second-factor/", {"code": code_of(device)})
    chief = User.objects.create_superuser("chief", password=PASSWORD)
    other = Client()
    log_in(other, name="chief")
    other.get("/admin/second-factor/")
    other.post("/admin/second-factor/", {"code": code_of(TOTPDevice.objects.get(user=chief))})
    posted = {"ids": user.pk, "confirmed": "yes", "reason": "The phone is lost"}
    assert other.post("/admin/auth/user/verb/forgetfactor/", posted).status_code == 302
    assert client.get("/admin/").status_code == 302
    assert b"data:image" in client.get("/admin/second-factor/").content


def test_somebody_without_a_log_in_or_without_staff_gets_no_secret(client, db, required):
    assert client.get("/admin/second-factor/")["Location"].startswith("/admin/login/")
    client.force_login(User.objects.create_user("guest"))
    assert client.get("/admin/second-factor/").status_code == 302
    assert not TOTPDevice.objects.exists()


def test_the_way_back_leads_to_our_pages_only(client, user, device, required):
    log_in(client)
    answer = client.post("/admin/second-factor/", {"code": code_of(device), "next": "https://evil.example/"})
    assert answer["Location"] == "/admin/"


def test_a_person_who_is_not_through_can_log_out(client, user, required):
    log_in(client)
    client.post("/admin/second-factor/", {"logout": "1"})
    assert "_auth_user_id" not in client.session


def test_a_production_without_second_factor_is_warned_of(settings):
    settings.ADMIN_SECOND_FACTOR = True
    assert second_factor_is_asked_for(None) == []
    settings.ADMIN_SECOND_FACTOR = False
    (found,) = second_factor_is_asked_for(None)
    assert found.id == "producer.W004" and found.hint


# --- roles


def test_create_roles_puts_each_role_to_what_is_written_and_keeps_its_people(user, capsys):
    call_command("create_roles")
    role = Group.objects.get(name=roles.OPERATOR)
    user.groups.add(role)
    role.permissions.add(Permission.objects.get(codename="delete_user"))
    call_command("create_roles")
    held = set(role.permissions.values_list("codename", flat=True))
    assert {"requeue_outboxmessage", "cancel_transaction", "view_taskresult"} <= held
    assert not held & {"delete_user", "view_figures", "view_user", "forgetfactor_user"}
    assert user.groups.get() == role and "operator" in capsys.readouterr().out


def test_every_verb_of_the_admin_has_its_permission_in_a_role(db):
    from django.contrib import admin

    roles.install(apps)
    known = set(Permission.objects.values_list("content_type__app_label", "codename"))
    for model, page in admin.site._registry.items():
        for verb in getattr(page, "verbs", ()):
            assert (model._meta.app_label, f"{verb.name}_{model._meta.model_name}") in known, (model, verb.name)
            assert verb.name in roles.VERBS[(model._meta.app_label, model._meta.model_name)]


def test_an_auditor_may_look_and_no_more(db):
    roles.install(apps)
    held = Group.objects.get(name=roles.AUDITOR).permissions.values_list("codename", flat=True)
    assert all(re.match("view_", codename) for codename in held) and "view_figures" in held


def test_sessions_end_with_the_browser_and_cookies_stay_with_us(client, user):
    cookie = log_in(client).cookies["sessionid"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and not cookie["max-age"]
