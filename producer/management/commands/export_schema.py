"""Writes the published description (OpenAPI, AsyncAPI, message schemas, problem types) into docs/; same code, same bytes."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from producer.asyncapi import asyncapi, message_schemas
from producer.env import ROOT
from producer.openapi import document
from transactions.problems import CATALOGUE

# The files must not depend on who exports them, so the settings' PUBLIC_URL is not asked.
PUBLIC_URL = "http://127.0.0.1:8000"


def as_json(value: object) -> str:
    """As it stands in the repository: readable, with a newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def problems_page() -> str:
    """docs/problems.md."""
    parts = [
        "# Problem types\n\n"
        "Every error answer is a problem document (RFC 9457). Decide by `type`, never by the text of `detail`; `instance`\n"
        "is the id of the request, as in `X-Request-ID`. Written by `manage.py export_schema`.\n"
    ]
    for problem in CATALOGUE.values():
        headers = f"\n\nHeaders: {', '.join(f'`{name}`' for name in problem.headers)}." if problem.headers else ""
        parts.append(
            f"## {problem.slug}\n\n**{problem.status} {problem.title}.** {problem.explanation}\n\n"
            f"What to do: {problem.remedy}{headers}\n"
        )
    return "\n".join(parts)


def files() -> dict[str, str]:
    """Path under docs/ -> text."""
    found = {
        "openapi.json": as_json(document(PUBLIC_URL)),
        "asyncapi.json": as_json(asyncapi()),
        "problems.md": problems_page(),
    }
    return found | {f"contract/{name}": as_json(schema) for name, schema in message_schemas().items()}


class Command(BaseCommand):
    """manage.py export_schema."""

    help = "Writes docs/openapi.json, docs/asyncapi.json, docs/problems.md and docs/contract/*.schema.json."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to."""
        parser.add_argument("--folder", type=Path, default=ROOT / "docs", help="default: docs/ of the repository")

    def handle(self, *args: Any, **options: Any) -> None:
        """Says what it wrote."""
        for name, text in files().items():
            target = options["folder"] / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            self.stdout.write(str(target))
