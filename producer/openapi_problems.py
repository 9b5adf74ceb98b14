"""Every problem type of the catalogue as schema, example and response; the operations name theirs by slug."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from producer.openapi_examples import TXN_ID
from producer.openapi_fields import Schema, ref
from transactions.problems import CATALOGUE, CONTENT_TYPE, FieldError, Problem, ProblemError, build, type_uri
from transactions.states import Status

REQUEST_ID = "6f1f3f0e-6d3b-4b5e-9a53-0d2f6c1b8a77"
# Members beyond RFC 9457's own, by slug: they are always there.
EXTRA: dict[str, dict[str, Schema]] = {
    "external-id-exists": {
        "transaction_id": {"type": "string", "format": "uuid", "description": "The transaction that has it."}
    },
    "state-conflict": {"transaction_status": ref("Status")},
}
# Sometimes there: with the key of a single transaction.
OPTIONAL: dict[str, dict[str, Schema]] = {
    "idempotency-key-reused": {
        "transaction_id": {"type": "string", "format": "uuid", "description": "What the key's first request wrote."}
    },
}
_EXTRA_EXAMPLES: dict[str, dict[str, Any]] = {
    "external-id-exists": {"transaction_id": TXN_ID},
    "state-conflict": {"transaction_status": Status.SUCCEEDED.value},
}
_ERRORS: dict[str, list[FieldError]] = {
    "validation-error": [FieldError(detail="Must be greater than zero.", pointer="#/amount")]
}
# Headers beyond X-Request-ID that come with a problem type, by slug.
_HEADERS: dict[str, tuple[str, ...]] = {
    "unauthorized": ("WWW-Authenticate",),
    "webhook-signature-invalid": ("WWW-Authenticate",),
    "webhook-timestamp-invalid": ("WWW-Authenticate",),
    "method-not-allowed": ("Allow",),
    "idempotency-key-in-use": ("Retry-After",),
    "precondition-failed": ("ETag",),
    "rate-limited": ("Retry-After",),
    "service-unavailable": ("Retry-After",),
}


def schema_name(slug: str) -> str:
    """`validation-error` -> `ValidationErrorProblem`."""
    words = "".join(word.capitalize() for word in slug.split("-"))
    return words.removesuffix("Problem") + "Problem"


def schemas(type_base: str) -> dict[str, Schema]:
    """`Problem`, and one schema for each type."""
    general: Schema = {
        "type": "object",
        "description": "RFC 9457. Decide by `type`; ignore members that you do not know.",
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "Which problem: a page that explains it."},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "This occurrence, for people."},
            "instance": {
                "type": "string",
                "pattern": "^urn:uuid:[0-9a-f-]{36}$",
                "description": "The request, as in X-Request-ID; tell it when you ask for help.",
            },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "detail": {"type": "string"},
                        "pointer": {
                            "type": "string",
                            "pattern": "^#",
                            "description": "JSON Pointer (RFC 6901) as a URI fragment, such as `#/transactions/3/amount`.",
                        },
                    },
                    "required": ["detail", "pointer"],
                },
            },
        },
        "required": ["type", "title", "status", "detail", "instance"],
    }
    return {"Problem": general} | {
        schema_name(problem.slug): _schema(problem, type_base) for problem in CATALOGUE.values()
    }


def _schema(problem: Problem, type_base: str) -> Schema:
    required = [*EXTRA.get(problem.slug, {}), *(["errors"] if problem.slug in _ERRORS else [])]
    own: Schema = {
        "properties": {
            "type": {"const": type_uri(problem.slug, type_base)},
            "title": {"const": problem.title},
            "status": {"const": problem.status},
            **EXTRA.get(problem.slug, {}),
            **OPTIONAL.get(problem.slug, {}),
        }
    }
    if required:
        own["required"] = required
    return {"allOf": [ref("Problem"), own], "description": f"{problem.explanation} {problem.remedy}"}


def examples(type_base: str) -> dict[str, Any]:
    """One answer of each type, made by the code that makes the real ones."""
    shown = {}
    for slug, problem in CATALOGUE.items():
        error = ProblemError(slug, errors=_ERRORS.get(slug, ()), extra=_EXTRA_EXAMPLES.get(slug))
        shown[slug] = {"summary": problem.title, "value": build(error, REQUEST_ID, type_base)[2]}
    return shown


def responses(slugs: Iterable[str]) -> dict[str, Any]:
    """The error answers of an operation: its problem types by status."""
    by_status: dict[int, list[Problem]] = defaultdict(list)
    for slug in slugs:
        by_status[CATALOGUE[slug].status].append(CATALOGUE[slug])
    return {str(status): _response(problems) for status, problems in sorted(by_status.items())}


def _response(problems: list[Problem]) -> dict[str, Any]:
    names = [schema_name(problem.slug) for problem in problems]
    headers = dict.fromkeys(
        ["X-Request-ID", *(header for problem in problems for header in _HEADERS.get(problem.slug, ()))]
    )
    return {
        "description": " ".join(f"**{problem.slug}**: {problem.explanation}" for problem in problems),
        "headers": {name: _header(name, problems) for name in headers},
        "content": {
            CONTENT_TYPE: {
                "schema": ref(names[0]) if len(names) == 1 else {"oneOf": [ref(name) for name in names]},
                "examples": {problem.slug: {"$ref": f"#/components/examples/{problem.slug}"} for problem in problems},
            }
        },
    }


def _header(name: str, problems: list[Problem]) -> dict[str, str]:
    """A header that only some of the types carry is optional in the answer that they share."""
    always = name == "X-Request-ID" or all(name in _HEADERS.get(problem.slug, ()) for problem in problems)
    return {"$ref": f"#/components/headers/{name}{'' if always else '-Sometimes'}"}
