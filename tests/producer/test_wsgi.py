"""producer.wsgi: programs and pages have a handler each, and both say the same of what is the API's."""

import io
import json

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

from producer.wsgi import API, ApiHandler, application

pytestmark = pytest.mark.django_db


def ask(handler, path, method="GET", **headers):
    """Status, headers without those of the moment, body without ids of the moment."""
    said = {}
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "testserver",
        "SERVER_PORT": "80", "HTTP_HOST": "testserver", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b""), "REMOTE_ADDR": "127.0.0.1", **headers,
    }  # fmt: skip
    response = handler(environ, lambda status, pairs: said.update(status=status, headers=dict(pairs)))
    body = b"".join(response)
    response.close()
    said["headers"].pop("X-Request-ID")
    if body and said["headers"]["Content-Type"] == "application/problem+json":
        body = {name: value for name, value in json.loads(body).items() if name != "instance"}
    return said["status"], said["headers"], body


def middlewares(handler):
    """The classes around the view, outermost first."""
    found, step = [], handler._middleware_chain
    while step is not None:
        step = getattr(step, "__wrapped__", step)
        found.append(f"{type(step).__module__}.{type(step).__qualname__}")
        step = getattr(step, "get_response", None)
    return found


@pytest.mark.parametrize(
    "path, method",
    [
        (f"{API}transactions", "GET"),
        (f"{API}transactions", "POST"),
        (f"{API}transactions", "OPTIONS"),
        (f"{API}transactions/0199", "DELETE"),
        (f"{API}webhooks/results", "POST"),
        (f"{API}webhooks/results/abc", "GET"),
        (f"{API}nothing", "GET"),
        (f"{API}schema", "GET"),
        (f"{API}docs", "GET"),
    ],
)
def test_the_short_way_answers_as_the_long_one_does(path, method):
    status, headers, body = ask(ApiHandler(), path, method)
    assert (status, headers, body) == ask(WSGIHandler(), path, method)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", ["/livez", "/nothing", f"{API}transactions", f"{API}schema", f"{API}nothing"])
def test_head_says_how_long_the_answer_to_get_is_and_sends_none_of_it(path):
    said, headers, shown = ask(application, path)
    length = headers.pop("Content-Length", None) or str(len(shown))
    assert ask(application, path, "HEAD") == (said, {**headers, "Content-Length": length}, b"")


@pytest.mark.parametrize(
    "parameter",
    [
        "charset*=no-such-code''%41",
        "a*=idna''%41",
        "a*=x; a*0=y",
        f"a*{'9' * 5000}=x",
        "charset=rot13",
    ],
    ids=["unknown code", "no code for text", "numbered and not", "a number without end", "a code that is none"],
)
@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/livez", "GET", "200"),
        (f"{API}nothing", "GET", "404"),
        (f"{API}transactions", "POST", "401"),
        (f"{API}webhooks/results", "POST", "415"),
    ],
)
def test_no_parameter_of_a_media_type_is_a_500(path, method, status, parameter):
    headers = {"CONTENT_TYPE": f"application/json; {parameter}", "QUERY_STRING": "x=1"}
    assert ask(application, path, method, **headers)[0].startswith(status)


def test_what_comes_from_inside_past_the_proxy_with_tls_is_not_sent_to_https(settings):
    settings.SECURE_SSL_REDIRECT, settings.SECURE_PROXY_SSL_HEADER = True, ("HTTP_X_FORWARDED_PROTO", "https")
    for path in ("/livez", "/readyz", "/metrics"):
        assert not ask(WSGIHandler(), path)[0].startswith("30"), path
    # Not signed, so refused, by the door itself: the Consumer takes a redirect for a failure.
    for handler in (ApiHandler(), WSGIHandler()):
        headers = {"CONTENT_TYPE": "application/json"}
        assert ask(handler, f"{API}webhooks/results", "POST", **headers)[0].startswith("401")
    for path in (f"{API}transactions", f"{API}webhooks/results/abc", f"{API}webhooks/resultsx"):
        status, headers, _ = ask(ApiHandler(), path)
        assert status.startswith("301") and headers["Location"] == f"https://testserver{path}"
    assert ask(ApiHandler(), f"{API}transactions", HTTP_X_FORWARDED_PROTO="https")[0].startswith("401")


def test_programs_go_the_short_way_and_pages_the_long_one(client):
    assert ask(application, f"{API}schema")[0] == "200 OK"
    status, headers, _ = ask(application, "/admin/", HTTP_ACCEPT="text/html")
    assert status.startswith("302")
    assert "/admin/login/" in headers["Location"]


def test_the_api_has_its_own_middleware_and_the_setting_is_as_it_was():
    before = list(settings.MIDDLEWARE)
    chain = middlewares(ApiHandler())
    assert before == settings.MIDDLEWARE
    assert chain[: len(settings.API_MIDDLEWARE)] == settings.API_MIDDLEWARE
    assert not [name for name in chain if "session" in name.lower() or "csrf" in name.lower()]
    assert any("Session" in name for name in middlewares(WSGIHandler()) if "session" in name)
