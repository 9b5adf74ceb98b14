"""Pages for people who write clients: index, API schema, the page to try it, problem types."""

from functools import cache

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from producer.methods import read_only
from producer.openapi import document
from transactions.problems import CATALOGUE


@cache
def _document() -> dict[str, object]:
    return document(settings.PUBLIC_URL, settings.PROBLEM_TYPE_BASE)


@read_only
def index(request: HttpRequest) -> HttpResponse:
    """Where everything is."""
    return render(request, "producer/index.html", {"problems": CATALOGUE.values(), "embedded": settings.EMBEDDED})


@read_only
def schema(request: HttpRequest) -> HttpResponse:
    """The OpenAPI 3.1 document."""
    return JsonResponse(_document())


@read_only
def swagger(request: HttpRequest) -> HttpResponse:
    """Swagger UI, served from here, offline."""
    return render(request, "producer/docs.html")


@read_only
def problem(request: HttpRequest, slug: str) -> HttpResponse:
    """What a problem type means and what to do."""
    if slug not in CATALOGUE:
        raise Http404
    return render(request, "producer/problem.html", {"problem": CATALOGUE[slug]})
