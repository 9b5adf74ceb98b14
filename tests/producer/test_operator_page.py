"""What a browser at the admin is shown when something is wrong: plain words, no database, and nothing of it for programs."""

from unittest import mock

import pytest
from django.db import InterfaceError, OperationalError

from producer import operator_page

BROWSER = {"HTTP_ACCEPT": "text/html,application/xhtml+xml,*/*;q=0.8"}
AWAY = "django.db.backends.utils.CursorWrapper.execute"


@pytest.fixture
def client(admin_client):
    admin_client.raise_request_exception = False
    return admin_client


@pytest.mark.parametrize("error", [OperationalError("server closed the connection"), InterfaceError("closed")])
@pytest.mark.parametrize("path", ["/admin/", "/admin/transactions/transaction/", "/admin/outbox/outboxmessage/?q=x"])
def test_with_the_database_away_an_operator_reads_what_is_wrong_and_what_to_do(client, path, error):
    with mock.patch(AWAY, side_effect=error):
        answer = client.get(path, **BROWSER)
    assert answer.status_code == 503 and int(answer["Retry-After"]) >= 1
    assert answer["Content-Type"].startswith("text/html") and answer["Cache-Control"] == "no-store"
    page = answer.content.decode()
    assert "The database does not answer" in page and "Start PostgreSQL" in page and answer["X-Request-ID"] in page
    assert f'http-equiv="refresh" content="{answer["Retry-After"]}"' in page
    assert "closed" not in page
    assert client.get(path, **BROWSER).status_code == 200


def test_a_form_that_was_sent_is_not_sent_again_by_itself(client):
    with mock.patch(AWAY, side_effect=OperationalError("gone")):
        answer = client.post("/admin/login/", {"username": "a", "password": "b"}, **BROWSER)
    assert answer.status_code == 503 and b"database" in answer.content and b"http-equiv" not in answer.content


def test_a_database_that_goes_while_the_session_is_written_is_503_too(client):
    with mock.patch(
        "django.contrib.sessions.middleware.SessionMiddleware.process_response", side_effect=OperationalError("gone")
    ):
        answer = client.get("/admin/", **BROWSER)
    assert answer.status_code == 503 and b"The database does not answer" in answer.content


@pytest.mark.parametrize("path", ["/api/v1/transactions", "/admin/dashboard/now", "/readyz"])
def test_programs_never_get_html(client, path):
    accept = "application/json" if path.startswith("/admin") else BROWSER["HTTP_ACCEPT"]
    with mock.patch(AWAY, side_effect=OperationalError("gone")):
        answer = client.get(path, HTTP_ACCEPT=accept, HTTP_AUTHORIZATION="Bearer x")
    assert answer.status_code == 503 and "json" in answer["Content-Type"]


def test_what_is_not_there_or_not_allowed_is_said_in_words(client):
    assert b"There is no such page" in client.get("/admin/nonsense", **BROWSER).content
    assert client.get("/nonsense", **BROWSER)["Content-Type"] == "application/problem+json"
    refused = client.get("/admin/outbox/outboxmessage/add/", **BROWSER)
    assert refused.status_code == 403 and b"You may not do this" in refused.content


def test_a_defect_is_said_with_the_id_to_report_and_nothing_of_its_inside(client):
    with mock.patch("producer.admin_site._may_see", side_effect=ZeroDivisionError("secret")):
        answer = client.get("/admin/", **BROWSER)
    assert answer.status_code == 500 and answer["X-Request-ID"].encode() in answer.content
    assert b"secret" not in answer.content and b"report it" in answer.content
    assert all(len(words) == 3 for words in operator_page.WORDS.values())
