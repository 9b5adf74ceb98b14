"""kombu's filesystem transport, made safe for more than one process: a message appears whole or not at all.

kombu opens a message's file under its final name and then writes it. Another process that lists the folder in between
takes an empty file, and the JSON error ends its worker. Met in the demo; see CHANGELOG.
"""

import contextlib
import json
import os
import uuid
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads


class Channel(filesystem.Channel):
    """Puts and gets by rename, which the file system does in one step."""

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]
        """Writes under a name that nobody looks for, then renames."""
        folder = Path(self.data_folder_out)
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        hidden = folder / f".{name}"
        hidden.write_text(dumps(message), encoding="utf-8")
        hidden.rename(folder / name)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """The oldest message of `queue`, taken by rename: of two processes one gets it. Raises Empty."""
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names only, thousands of them
            if name.startswith(".") or name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = folder / f".taken-{uuid.uuid4()}-{name}"
            with contextlib.suppress(FileNotFoundError):
                (folder / name).rename(taken)
                payload = self._read(taken)
                if payload is not None:
                    taken.unlink()
                    return payload
                # A peer that still writes in place is in the middle of it: look again at the next poll.
                taken.rename(folder / name)
        raise Empty

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            return loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None


class Transport(filesystem.Transport):
    """For `kombu.Connection(transport="outbox.filesystem:Transport")` and Celery's `broker_transport`."""

    Channel = Channel
