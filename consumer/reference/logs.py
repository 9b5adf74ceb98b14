"""One JSON object a line, with the names of the work in hand: never a payload, a secret or an account number."""

import json
import logging
from datetime import UTC, datetime

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
