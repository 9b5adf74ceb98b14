"""Every row of the contract's error table, and every input that a naive DRF view takes or breaks on."""

import io
import json
import time
import uuid
from datetime import timedelta
from unittest import mock

import pytest
from django.db import InterfaceError, OperationalError
from django.test import RequestFactory, override_settings
from django.utils import timezone

from tests.conftest import new_transaction
from transactions import services
from transactions.bodies import read_json_bytes
from transactions.models import ApiKey, IdempotencyKey, Transaction
from transactions.problems import CATALOGUE, ProblemError

pytestmark = pytest.mark.django_db

KIB = 1024


def refused(answer, status, slug, *pointers):
    """The whole shape of a problem document, so that no error leaves in another."""
    assert answer.status_code == status, answer.content[:500]
    assert answer["Content-Type"] == "application/problem+json"
    body = json.loads(answer.content)
    assert body["type"].startswith("http") and body["type"].endswith(f"/problems/{slug}")
    assert body["title"] == CATALOGUE[slug].title
    assert body["status"] == status
    assert body["detail"]
    assert body["instance"] == f"urn:uuid:{answer['X-Request-ID']}"
    assert "Traceback" not in answer.content.decode()
    if pointers:
        assert {error["pointer"] for error in body["errors"]} == set(pointers)
        assert all(error["detail"] for error in body["errors"])
    return body


def post(api, raw, **options):
    options.setdefault("Idempotency_Key", str(uuid.uuid4()))
    return api.request("POST", "transactions", raw=raw, **options)


def text(**fields):
    return json.dumps(new_transaction(**fields)).encode()


MALFORMED = {
    "nothing but space": b" ",
    "malformed": b'{"amount": ',
    "text after the value": text() + b"x",
    "an array": b"[]",
    "null": b"null",
    "a string": b'"x"',
    "a BOM": b"\xef\xbb\xbf" + text(),
    "UTF-16": text().decode().encode("utf-16"),
    "not UTF-8": text()[:-1] + b', "description": "\xff\xfe"}',
    "an encoded surrogate": text()[:-1] + b', "description": "\xed\xa0\x80"}',
    "NaN": text()[:-1] + b', "metadata": {"a": NaN}}',
    "Infinity": text()[:-1] + b', "metadata": {"a": -Infinity}}',
    "an overflowing number": text()[:-1] + b', "metadata": {"a": 1e400}}',
    "a number of 5,000 digits": text()[:-1] + b', "metadata": {"a": ' + b"9" * 5000 + b"}}",
    "a duplicate member": text()[:-1] + b', "amount": "1.00"}',
    "a duplicate member by escape": text()[:-1] + b', "\\u0061mount": "1.00"}',
    "a duplicate member deep inside": text()[:-1] + b', "metadata": {"a": {"b": 1, "b": 2}}}',
    "60,000 arrays": b"[" * 60_000,
    "60,000 objects cut off": (b'{"a":' * 10_000),
    "33 levels": text()[:-1] + b', "metadata": {"a": ' + b"[" * 31 + b"]" * 31 + b"}}",
    "900 levels": text()[:-1] + b', "metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_row_malformed_json_is_400(api, name):
    refused(post(api, MALFORMED[name]), 400, "malformed-json")
    assert not Transaction.objects.exists()


def test_32_levels_are_still_taken(api):
    assert post(api, text()[:-1] + b', "metadata": {"a": ' + b"[" * 30 + b"]" * 30 + b"}}").status_code == 201


AMOUNTS = [
    *(125.5, 125, 0, -1, True, False, [], {}, "", " ", "abc", "1e3", "1E3", "1e1000000", "1e-1000000", "0e999999999"),
    *(
        "1_000",
        "1_000.00",
        "1,000.00",
        "１２.00",
        "٣.00",
        " 1.00 ",
        "1.00\n",
        "+1.00",
        "-5",
        "0",
        "0.00",
        "-0.00",
        "01",
    ),
    *("00.10", ".5", "5.", "1.", "1.2.3", "0x10", "NaN", "Infinity", "1.005", "1.000", "1000000000000000.00"),
    *("1" * 5000, "9" * 60_000, "1.00\u0000", "\ud800", "½", "1\u200b", "$1", "1 000"),
]


@pytest.mark.parametrize("amount", AMOUNTS, ids=lambda value: repr(value)[:24])
def test_row_a_bad_amount_is_422_at_its_pointer(api, amount):
    refused(api.create(new_transaction(amount=amount)), 422, "validation-error", "#/amount")


@pytest.mark.parametrize(
    "amount, currency", [("1.0", "JPY"), ("1.5", "JPY"), ("1.001", "EUR"), ("1.0001", "KWD"), ("1.00001", "CLF")]
)
def test_row_more_digits_than_the_currency_has_are_422(api, amount, currency):
    refused(api.create(new_transaction(amount=amount, currency=currency)), 422, "validation-error", "#/amount")


BAD_FIELDS = [
    *(("currency", value) for value in ("eur", "ЕUR", "EURO", "EU", "", "ZZZ", "XXX", "XAU", "DEM", 978, True, ["EUR"], {})),
    *(("direction", value) for value in ("DEBIT", "in", "", 1, False, ["debit"], {})),
    *(("account_number", value) for value in ("", " ", " A1", "A1 ", "x" * 35, "A\tB", "A_B", "Ａ", "A\u200bB", 123, True, [], {})),
    *(("external_id", value) for value in ("", "x" * 65, 7, True, [], {})),
    *(("description", value) for value in ("x" * 256, 7, False, [], {})),
    *(("metadata", value) for value in ("x", 7, True, [], [{}], {str(n): n for n in range(51)}, {"a": "x" * 8 * KIB})),
    *(
        ("transaction_date", value)
        for value in (
            *("", "2026-11-22", "2026-11-22T10:15:00", "2026-11-22 10:15:00Z", "2026-02-30T00:00:00Z"),
            *("2026-11-22T25:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T10:15:60Z", "2026-11-22T10:15:00+0100"),
            *("2026-11-22T10:15:00+25:00", "2026-11-22T10:15:00+01:75", "2026-11-22T10:15:00z[UTC]", "٢٠٢٦-11-22T10:15:00Z"),
            *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 1732270500, True, {}, []),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("name, value", BAD_FIELDS, ids=lambda value: repr(value)[:24])
def test_row_a_wrong_type_or_a_bad_value_is_422_at_its_pointer(api, name, value):
    refused(api.create(new_transaction(**{name: value})), 422, "validation-error", f"#/{name}")


CONTROLS = [
    "\u0000",
    "\u0001",
    "\n",
    "\r\n",
    "\t",
    "\u001f",
    "\u007f",
    "\u0080",
    "\u009f",
    "\ud800",
    "\udfff",
    "x\udc80y",
]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
@pytest.mark.parametrize(
    "body, pointer",
    [
        (lambda c: {"description": f"a{c}b"}, "#/description"),
        (lambda c: {"external_id": f"a{c}b"}, "#/external_id"),
        (lambda c: {"metadata": {"a": [{"b": f"a{c}b"}]}}, "#/metadata/a/0/b"),
        (lambda c: {"account_number": f"a{c}b"}, "#/account_number"),
    ],
    ids=["description", "external_id", "metadata", "account_number"],
)
def test_row_control_characters_and_lone_surrogates_are_422(api, control, body, pointer):
    refused(api.create(new_transaction(**body(control))), 422, "validation-error", pointer)


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_row_control_characters_in_a_key_of_metadata_are_422(api, control):
    body = refused(api.create(new_transaction(metadata={f"a{control}b": 1})), 422, "validation-error")
    assert body["errors"][0]["pointer"].startswith("#/metadata/a")
    assert "%EF%BF%BD" in body["errors"][0]["pointer"]


@pytest.mark.parametrize("name", ["foo", "Amount", "a/b~c", "", "é"])
def test_row_an_unknown_field_is_422(api, name):
    pointer = {"a/b~c": "#/a~1b~0c", "é": "#/%C3%A9"}.get(name, f"#/{name}")
    refused(api.create(new_transaction(**{name: 1})), 422, "validation-error", pointer)


@pytest.mark.parametrize(
    "name",
    ["id", "status", "version", "processed_data", "error", "overdue", "created_at", "updated_at", "processed_at"],
)
def test_row_a_read_only_field_is_422_even_when_null(api, name):
    for value in ("x", None):
        refused(api.create(new_transaction(**{name: value})), 422, "validation-error", f"#/{name}")


def test_row_every_fault_is_told_at_once(api):
    body = {"amount": 1, "currency": "eur", "foo": 1, "direction": None}
    refused(
        api.create(body), 422, "validation-error",
        "#/amount", "#/currency", "#/foo", "#/direction", "#/account_number",
    )  # fmt: skip


def test_row_the_errors_told_are_bounded(api):
    body = refused(api.create({f"f{n}": 1 for n in range(5000)}), 422, "validation-error")
    assert len(body["errors"]) == 100


@pytest.mark.parametrize(
    "content_type",
    [
        *(None, "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("application/json; charset=utf-7", "application/json; charset=utf-16", "application/json; charset=latin-1"),
        *("application/jsonx", "application/json, text/plain", "application/json; profile=x", "application/ld+json"),
    ],
)
def test_row_another_content_type_is_415(api, content_type):
    refused(post(api, text(), content_type=content_type), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            'application/json ; charset="UTF-8"',
        ),
        *("application/json;", "application/json; charset=UTF-8;", "application/json ; ;; charset=utf-8 ; "),
    ],
)
def test_every_spelling_of_json_in_utf_8_is_taken(api, content_type):
    assert post(api, text(), content_type=content_type).status_code == 201


@pytest.mark.parametrize("gap", ["; ", " ;", " ; "])
def test_a_media_type_as_long_as_a_header_can_be_is_refused_at_once(gap):
    for count in (24, 8_000 // len(gap)):
        request = RequestFactory().generic("POST", "/", b"{}", content_type=f"application/json{gap * count}x")
        began = time.process_time()
        with pytest.raises(ProblemError, match="unsupported-media-type"):
            read_json_bytes(request, 1)
        assert time.process_time() - began < 1, count


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x", "identity, gzip"])
def test_row_a_content_encoding_is_415(api, encoding):
    refused(post(api, text(), Content_Encoding=encoding), 415, "unsupported-media-type")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_row_415_on_changes_too(api, method):
    path = api.create()["Location"]
    refused(api.request(method, path, {}, content_type="text/plain", If_Match="*"), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/xml", "text/*", "application/json;q=0", "application/json; q=0.000, */*;q=0", "*/*;q=0"],
)
def test_row_an_accept_without_json_is_406(api, accept):
    refused(api.get("transactions", Accept=accept), 406, "not-acceptable")
    refused(post(api, text(), Accept=accept), 406, "not-acceptable")
    assert not Transaction.objects.exists()


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/*",
        "text/html, application/json;q=0.1",
        "text/html, */*;q=0.1",
        "",
        "APPLICATION/JSON",
        "application/problem+json",
    ],
)
def test_an_accept_that_allows_json_is_answered(api, accept):
    assert api.get("transactions", Accept=accept).status_code == 200


@pytest.mark.parametrize("path, limit", [("transactions", 64 * KIB), ("transactions/batch", 2048 * KIB)])
def test_row_a_body_over_the_limit_is_413_and_one_at_the_limit_is_read(api, path, limit):
    key = {"Idempotency_Key": "k"}
    refused(api.request("POST", path, raw=b" " * (limit + 1), **key), 413, "content-too-large")
    refused(api.request("POST", path, raw=b" " * limit, **key), 400, "malformed-json")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_row_413_on_every_method_with_a_body(api, method):
    path = api.create()["Location"]
    refused(api.request(method, path, raw=b" " * (64 * KIB + 1), If_Match="*"), 413, "content-too-large")


class Chunks(io.BytesIO):
    """What a server hands on for a chunked body; fails as gunicorn does when the framing is broken."""

    def __init__(self, raw, error=None):
        super().__init__(raw)
        self.error = error

    def read(self, *size):
        if self.error:
            raise self.error
        return super().read(*size)


@pytest.mark.parametrize(
    "chunks, status, slug",
    [
        (Chunks(b" " * (64 * KIB + 1)), 413, "content-too-large"),
        (Chunks(b"{}"), 422, "validation-error"),
        (Chunks(b"", OSError("cut off")), 400, "malformed-json"),
        (Chunks(b"", type("InvalidChunkSize", (Exception,), {})()), 400, "malformed-json"),
    ],
    ids=["too large", "read", "cut off", "bad framing"],
)
def test_row_a_chunked_body_has_the_same_limits_and_broken_chunks_are_400(api, chunks, status, slug):
    environ = {"wsgi.input": chunks, "wsgi.input_terminated": True, "CONTENT_TYPE": "application/json"}
    headers = {"Authorization": f"Bearer {api.key}", "Idempotency-Key": "k", "Transfer-Encoding": "chunked"}
    refused(api.client.generic("POST", "/api/v1/transactions", headers=headers, **environ), status, slug)


@pytest.mark.parametrize("path", ["transactions", "webhooks/results"])
def test_a_body_that_ended_before_its_length_is_none_however_whole_it_looks(api, path):
    environ = {"wsgi.input": io.BytesIO(text()), "CONTENT_LENGTH": str(len(text()) + 1)}
    headers = {"Authorization": f"Bearer {api.key}", "Idempotency-Key": "k"}
    answer = api.client.generic("POST", f"/api/v1/{path}", b" ", "application/json", headers=headers, **environ)
    refused(answer, 400, "malformed-json")
    assert not Transaction.objects.exists()


ENDPOINTS = [
    ("GET", "transactions"),
    ("POST", "transactions"),
    ("POST", "transactions/batch"),
    *((method, f"transactions/{uuid.uuid4()}") for method in ("GET", "PUT", "PATCH", "DELETE")),
    ("GET", f"transactions/{uuid.uuid4()}/events"),
]


@pytest.mark.parametrize("method, path", ENDPOINTS)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer pk_nope", "Basic dTpw", "pk_nope", "Bearer \xff", "Token x"]
)
def test_row_no_or_a_bad_key_is_401_with_a_challenge(api, method, path, header):
    answer = api.request(method, path, new_transaction(), Authorization=header, Idempotency_Key="k", If_Match="*")
    refused(answer, 401, "unauthorized")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "change", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(seconds=1)}]
)
def test_row_a_revoked_or_expired_key_is_401(api, change):
    ApiKey.objects.update(**change)
    refused(api.get("transactions"), 401, "unauthorized")


@pytest.mark.parametrize("method, path", ENDPOINTS[3:])
def test_row_an_unknown_transaction_is_404(api, method, path):
    refused(api.request(method, path, new_transaction(), If_Match="*"), 404, "not-found")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        lambda i: i.replace("-", ""),
        lambda i: f"{{{i}}}",
        lambda i: f"urn:uuid:{i}",
        lambda i: str(uuid.UUID(i).int),
        lambda i: f"{i} ",
        lambda i: f"{i}%00",
        lambda i: f"{i}%0A",
        lambda i: "%00",
        lambda i: "%ff%fe",
        lambda i: "9" * 30,
        lambda i: "9" * 6000,
        lambda i: f"{i}/",
        lambda i: "..",
    ],
)  # fmt: skip
def test_row_an_id_that_is_not_canonical_is_404(api, method, spell):
    own = api.create().json()["id"]
    path = f"/api/v1/transactions/{spell(own)}"
    refused(api.request(method, path, new_transaction(), If_Match="*"), 404, "not-found")
    assert Transaction.objects.get(id=own).version == 1


@pytest.mark.parametrize(
    "path", ["/api/v1/transactions/", "/api/v1/nothing", "/nothing", "/api/v2/transactions", "/api/v1"]
)
def test_row_an_unknown_path_is_404_and_never_a_redirect(api, path):
    refused(api.get(path), 404, "not-found")


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        *((m, "transactions", {"GET", "HEAD", "POST"}) for m in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")),
        *((m, "transactions/batch", {"POST"}) for m in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")),
        *((m, "transactions/x/events", {"GET", "HEAD"}) for m in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
        *((m, "transactions/x", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}) for m in ("POST", "OPTIONS", "TRACE")),
    ],
)
def test_row_another_method_is_405_with_allow(api, method, path, allowed):
    answer = api.request(method, path, new_transaction())
    if method != "HEAD":
        refused(answer, 405, "method-not-allowed")
    assert answer.status_code == 405
    assert set(answer["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["transactions", "transactions/batch"])
def test_row_a_missing_idempotency_key_is_400(api, path):
    refused(api.request("POST", path, new_transaction()), 400, "idempotency-key-missing")


BAD_KEYS = [
    "",
    " ",
    '""',
    '"open',
    '"a","b"',
    "é",
    "a\tb",
    "x" * 256,
    f'"{"x" * 256}"',
    '"a\\b"',
    '"é"',
    "\x7f",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_row_a_malformed_idempotency_key_is_400(api, key):
    refused(post(api, text(), Idempotency_Key=key), 400, "idempotency-key-invalid")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_row_a_malformed_key_is_400_where_it_is_optional_too(api, method):
    path = api.create()["Location"]
    answer = api.request(method, path, new_transaction(), If_Match="*", Idempotency_Key="é")
    refused(answer, 400, "idempotency-key-invalid")


def test_row_a_key_reused_for_another_request_is_422(api):
    first = api.create(key="k").json()
    body = refused(api.create(new_transaction(amount="1"), key="k"), 422, "idempotency-key-reused")
    assert body["transaction_id"] == first["id"]


def test_row_an_external_id_that_exists_is_409_with_its_transaction(api):
    first = api.create(new_transaction(external_id="inv-1")).json()
    body = refused(api.create(new_transaction(external_id="inv-1")), 409, "external-id-exists")
    assert body["transaction_id"] == first["id"]
    assert Transaction.objects.count() == IdempotencyKey.objects.count() == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_row_a_missing_if_match_is_428(api, method):
    path = api.create()["Location"]
    refused(api.request(method, path, new_transaction()), 428, "precondition-required")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_row_a_stale_if_match_is_412_with_the_present_tag(api, method):
    first = api.create()
    answer = api.request(method, first["Location"], new_transaction(), If_Match='"1-0"')
    refused(answer, 412, "precondition-failed")
    assert answer["ETag"] == first["ETag"]


@pytest.mark.parametrize("status", ["processing", "succeeded", "failed"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_row_a_change_of_what_is_no_longer_pending_is_409(api, method, status):
    path = api.create()["Location"]
    Transaction.objects.update(status=status, processed_at=timezone.now())
    body = refused(api.request(method, path, new_transaction(), If_Match="*"), 409, "state-conflict")
    assert body["transaction_status"] == status


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_row_a_change_of_what_is_canceled_is_409(api, method):
    path = api.create()["Location"]
    api.request("DELETE", path)
    body = refused(api.request(method, path, new_transaction(), If_Match="*"), 409, "state-conflict")
    assert body["transaction_status"] == "canceled"


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1.0",
            "limit=1e1",
            "limit=%D9%A1",
            "limit=010",
            "limit=1&limit=2",
        ),
        *("cursor=", "cursor=x", "cursor=%00", "cursor=AAAA", "cursor=" + "A" * 38, "cursor=%F0%9F%92%B6"),
        *("status=done", "status=", "status=PENDING", "currency=eur", "currency=XXX", "status=pending&status=failed"),
        *("created_gte=2026", "created_lt=x", "updated_gte=", "created_gte=2026-11-22T10:15:00", "updated_gte=%00"),
        *(
            "account_number=%00",
            "account_number=",
            "account_number=%C3%A9",
            "account_number=" + "1" * 35,
            "external_id=",
            "external_id=" + "a" * 65,
            "external_id=%ff",
            "status=pending&idempotency_key=%C3",
            "external_id=a%0Ab",
            "foo=1",
            "foo",
            "Status=pending",
            "page=2",
            "order=id",
            "amount=1",
        ),
    ],
)
def test_row_a_bad_cursor_limit_or_filter_is_400(api, query):
    refused(api.get(f"transactions?{query}"), 400, "invalid-parameter")


@pytest.mark.parametrize("method, path", ENDPOINTS)
def test_row_an_unknown_query_parameter_is_400_on_every_path(api, method, path):
    answer = api.request(method, f"{path}?verbose=1", new_transaction(), Idempotency_Key="k", If_Match="*")
    refused(answer, 400, "invalid-parameter")


@pytest.mark.parametrize("query", ["a&" * 1001, "&" * 1001])
@pytest.mark.parametrize("method, path", ENDPOINTS)
def test_row_more_query_parameters_than_anybody_reads_are_400_on_every_path(api, method, path, query):
    answer = api.request(method, f"{path}?{query}", new_transaction(), Idempotency_Key="k", If_Match="*")
    refused(answer, 400, "invalid-parameter")


@override_settings(API_RATE_PER_SECOND=1, API_RATE_BURST=2)
def test_row_over_the_rate_is_429_with_retry_after(api):
    assert [api.get("transactions").status_code for _ in range(2)] == [200, 200]
    answer = api.get("transactions")
    refused(answer, 429, "rate-limited")
    assert 1 <= int(answer["Retry-After"]) <= 2


@pytest.mark.parametrize("error", [OperationalError("server closed the connection"), InterfaceError("closed")])
@pytest.mark.parametrize("method, path", ENDPOINTS)
def test_row_database_away_is_503_with_retry_after(api, method, path, error):
    with mock.patch("django.db.backends.utils.CursorWrapper.execute", side_effect=error):
        answer = api.request(method, path, new_transaction(), Idempotency_Key="k", If_Match="*")
    refused(answer, 503, "service-unavailable")
    assert int(answer["Retry-After"]) >= 1


def test_a_503_does_not_deny_what_was_written_before_the_answer_got_lost(api):
    create = services.create

    def cut_off(*args):
        create(*args)
        raise OperationalError("server closed the connection unexpectedly")

    with mock.patch("transactions.services.create", side_effect=cut_off):
        body = refused(api.create(key="k"), 503, "service-unavailable")
    stored = Transaction.objects.get()
    assert "nothing" not in body["detail"] and "may be stored" in body["detail"]
    again = api.create(key="k")
    assert (again.status_code, again.json()["id"], again["Idempotent-Replayed"]) == (201, str(stored.id), "true")


def test_a_defect_of_ours_is_a_problem_document_too(api):
    with mock.patch("transactions.services.create", side_effect=ZeroDivisionError("secret")):
        answer = api.create()
    refused(answer, 500, "internal-error")
    assert b"secret" not in answer.content


def test_a_bad_host_is_a_problem_document_too(api):
    refused(api.get("transactions", Host="evil.example"), 400, "invalid-parameter")
