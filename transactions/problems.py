"""Errors as RFC 9457 problem documents: the exception that every view may raise, and the builder of the answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from transactions.problem_catalogue import CATALOGUE, Problem

__all__ = ["CATALOGUE", "CONTENT_TYPE", "FieldError", "Problem", "ProblemError", "build", "type_uri"]

CONTENT_TYPE = "application/problem+json"

_STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "errors"})
# RFC 9457 §3.2: names that can also be XML names and short enough for every language's identifiers.
_MEMBER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,}")


class FieldError(TypedDict):
    """One fault of the body: what is wrong, and a JSON Pointer fragment to where (`#/transactions/3/amount`)."""

    detail: str
    pointer: str


class ProblemError(Exception):
    """A request that ends in the problem `slug` of CATALOGUE.

    `detail` is about this occurrence (default: the type's explanation), `errors` the field errors, `extra` further
    members (`transaction_id`), `headers` further response headers, which win over the type's own. Raises ValueError for
    an unknown slug or an extra member that RFC 9457 does not allow.
    """

    def __init__(
        self,
        slug: str,
        detail: str | None = None,
        *,
        errors: Iterable[FieldError] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(slug, detail)
        if slug not in CATALOGUE:
            raise ValueError(f"no problem has the slug {slug!r}")
        self.slug = slug
        self.detail = CATALOGUE[slug].explanation if detail is None else detail
        self.errors = list(errors)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        for name in self.extra:
            if name in _STANDARD_MEMBERS or not _MEMBER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be an extension member (RFC 9457 §3.2)")

    @property
    def problem(self) -> Problem:
        """The problem type."""
        return CATALOGUE[self.slug]


def type_uri(slug: str, type_base: str) -> str:
    """Return the absolute URI of a problem type; `type_base` is the absolute URL of the docs page's folder."""
    return f"{type_base.rstrip('/')}/{slug}"


def build(error: ProblemError, request_id: str, type_base: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return (status, headers, body) of the answer. `request_id` is a UUID in text, the same as in `X-Request-ID`."""
    body: dict[str, Any] = {
        "type": type_uri(error.slug, type_base),
        "title": error.problem.title,
        "status": error.problem.status,
        "detail": _sendable(error.detail),
        "instance": f"urn:uuid:{request_id}",
    }
    if error.errors:
        body["errors"] = [
            {"detail": _sendable(fault["detail"]), "pointer": _sendable(fault["pointer"])} for fault in error.errors
        ]
    headers = {
        "Content-Type": CONTENT_TYPE,
        "X-Request-ID": request_id,
        **_without(error.problem.headers, error.headers),
        **error.headers,
    }
    return error.problem.status, headers, body | error.extra


def _without(headers: Mapping[str, str], overriding: Mapping[str, str]) -> dict[str, str]:
    taken = {name.lower() for name in overriding}
    return {name: value for name, value in headers.items() if name.lower() not in taken}


def _sendable(text: str) -> str:
    # A detail may come from a library that repeats its input, and a lone surrogate would make the answer a 500.
    return text.encode("utf-8", "replace").decode("utf-8")
