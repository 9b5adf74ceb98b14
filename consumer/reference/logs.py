"""One JSON object a line, with the names of the work in hand: never a payload, a secret or an account number."""

import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db import Error

from processing import tracing


class JsonLines(logging.Formatter):
    """`event` is the sentence; request_id, event_id, transaction_id and webhook_id stand beside it where known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "event": record.getMessage(),
            **tracing.names(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)

    def formatException(self, ei: Any) -> str:
        """What a database says may hold the row (PostgreSQL's DETAIL): of its errors the class and the place are shown."""
        _, error, trace = ei
        if any(isinstance(each, Error) for each in _chain(error)):
            return "".join([*traceback.format_tb(trace), type(error).__name__])
        return super().formatException(ei)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
