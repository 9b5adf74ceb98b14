"""The problem catalogue and the documents built from it (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from transactions.problems import CATALOGUE, ProblemError, build, type_uri

REQUEST_ID = "0199aaaa-0000-7000-8000-000000000001"
BASE = "https://docs.example/problems/"

STATUSES = {
    "malformed-json": 400,
    "invalid-parameter": 400,
    "idempotency-key-missing": 400,
    "idempotency-key-invalid": 400,
    "unauthorized": 401,
    "webhook-signature-invalid": 401,
    "webhook-timestamp-invalid": 401,
    "forbidden": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "external-id-exists": 409,
    "idempotency-key-in-use": 409,
    "state-conflict": 409,
    "length-required": 411,
    "precondition-failed": 412,
    "content-too-large": 413,
    "unsupported-media-type": 415,
    "validation-error": 422,
    "idempotency-key-reused": 422,
    "webhook-id-reused": 422,
    "precondition-required": 428,
    "rate-limited": 429,
    "internal-error": 500,
    "service-unavailable": 503,
}


def test_the_catalogue_is_what_the_contract_names() -> None:
    assert {slug: problem.status for slug, problem in CATALOGUE.items()} == STATUSES


@pytest.mark.parametrize("slug", STATUSES)
def test_each_problem_is_explained(slug: str) -> None:
    problem = CATALOGUE[slug]
    assert problem.slug == slug
    HTTPStatus(problem.status)
    assert problem.title and not problem.title.endswith(".")
    assert problem.explanation.endswith(".") and problem.remedy.endswith(".")


def test_titles_are_unique() -> None:
    assert len({problem.title for problem in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("slug", STATUSES)
def test_each_problem_builds_a_complete_document(slug: str) -> None:
    status, headers, body = build(ProblemError(slug), REQUEST_ID, BASE)
    assert status == body["status"] == STATUSES[slug]
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-Request-ID"] == REQUEST_ID
    assert body["type"] == f"https://docs.example/problems/{slug}"
    assert body["instance"] == f"urn:uuid:{REQUEST_ID}"
    assert body["title"] == CATALOGUE[slug].title
    assert body["detail"]
    assert "errors" not in body
    json.dumps(body)


def test_every_401_challenges_and_what_can_be_repeated_says_when() -> None:
    for slug, status in STATUSES.items():
        _, headers, _ = build(ProblemError(slug), REQUEST_ID, BASE)
        assert ("WWW-Authenticate" in headers) == (status == 401)
        assert ("Retry-After" in headers) == (status in (429, 503) or slug == "idempotency-key-in-use")


def test_detail_errors_extra_members_and_headers_are_sent() -> None:
    error = ProblemError(
        "validation-error",
        "One field is wrong.",
        errors=[{"detail": "Must be greater than zero.", "pointer": "#/transactions/3/amount"}],
        extra={"transaction_id": "0199"},
        headers={"Allow": "GET"},
    )
    status, headers, body = build(error, REQUEST_ID, BASE)
    assert (status, body["detail"], body["transaction_id"]) == (422, "One field is wrong.", "0199")
    assert body["errors"] == [{"detail": "Must be greater than zero.", "pointer": "#/transactions/3/amount"}]
    assert headers["Allow"] == "GET"


def test_headers_of_the_occurrence_win_in_any_spelling() -> None:
    _, headers, _ = build(ProblemError("rate-limited", headers={"retry-after": "7"}), REQUEST_ID, BASE)
    assert {name.lower(): value for name, value in headers.items()}["retry-after"] == "7"
    assert sum(name.lower() == "retry-after" for name in headers) == 1


def test_the_catalogue_is_not_changed_by_building() -> None:
    _, headers, _ = build(ProblemError("rate-limited", headers={"Retry-After": "7"}), REQUEST_ID, BASE)
    headers["X-Other"] = "1"
    assert CATALOGUE["rate-limited"].headers == {"Retry-After": "1"}


@pytest.mark.parametrize(
    "name", ["type", "title", "status", "detail", "instance", "errors", "a", "ab", "1ab", "a-b", "é12"]
)
def test_extra_members_cannot_replace_standard_ones_or_break_the_name_rule(name: str) -> None:
    with pytest.raises(ValueError):
        ProblemError("not-found", extra={name: 1})


def test_an_unknown_slug_is_refused_where_it_is_raised() -> None:
    with pytest.raises(ValueError):
        ProblemError("no-such-problem")


def test_a_detail_with_a_lone_surrogate_can_still_be_sent() -> None:
    fault = {"detail": "bad \udc80", "pointer": "#/\ud800"}
    _, _, body = build(ProblemError("not-found", "x\ud800", errors=[fault]), REQUEST_ID, BASE)  # type: ignore[list-item]
    json.dumps(body, ensure_ascii=False).encode("utf-8")


def test_the_type_base_works_with_and_without_a_slash() -> None:
    assert type_uri("not-found", "https://x/problems") == type_uri("not-found", "https://x/problems/")
