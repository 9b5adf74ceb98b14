"""The folder in which processes share their counters: made at start, and kept small although processes come and go.

The library writes a file per process and keeps those of dead ones, or a sum would fall. So we add the dead ones up into
one file, under a lock that scrapes share: nobody ever sees a value twice or not at all. Each process does it as it starts,
so the folder stays small where nobody scrapes. When it is full all the same, a new process counts where nobody looks: to
write into a full memory folder would end it (SIGBUS).
"""

import contextlib
import fcntl
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger(__name__)

RETIRED = "retired"
# What a process may come to write, with room for others that start at the same time (bytes).
ROOM_BYTES = 4 * 1024 * 1024


def prepare(folder: Path) -> None:
    """Makes the folder, and tells the library to use it. Before the first counter is made."""
    global _folder, _host_lives
    folder.mkdir(parents=True, exist_ok=True)
    _folder = folder
    # Held by every process of this host until the last one ends: how other containers tell that all of them are gone.
    _host_lives = os.open(folder / f"{_HOST}.alive", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    # Whoever asks holds it for microseconds.
    fcntl.flock(_host_lives, fcntl.LOCK_SH)
    values.ValueClass = values.MultiProcessValue(_identity)


# No underscore: the library separates by it.
_HOST = socket.gethostname().replace("_", "-")
_known = (0, "")
_folder = Path()
_host_lives = -1


def _identity() -> str:
    """Unique over the containers that share the folder: each of them has a process 7. Asked at each count: cheap."""
    global _known
    pid = os.getpid()
    if _known[0] != pid:
        _known = (pid, f"{_HOST}+{pid}")
        _move_in()
    return _known[1]


def _move_in() -> None:
    """Before a new process opens its files: makes room, and turns away from a folder that has none."""
    with contextlib.suppress(OSError), (_folder / "lock").open("w") as lock:
        # Whoever holds it does the same, or reads.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _retire(_folder)
    folder = _folder
    if _free_bytes(folder) < ROOM_BYTES:
        folder = Path(tempfile.gettempdir()) / "uncounted-metrics"
        folder.mkdir(exist_ok=True)
        for left_behind in folder.glob(f"*_{_HOST}+*.db"):
            if not _alive(int(left_behind.stem.rpartition("+")[2])):
                left_behind.unlink(missing_ok=True)
        log.warning("metrics folder full: this process is not in /metrics", extra={"folder": str(_folder)})
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


@contextlib.contextmanager
def settled(folder: Path) -> Iterator[None]:
    """A moment in which no file is added to another; files of dead processes were, just before."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _retire(folder)
        yield


def _retire(folder: Path) -> None:
    """Adds the counters of dead processes to one file of this host for each kind."""
    if _free_bytes(folder) < ROOM_BYTES // 8:
        return
    gone: dict[str, bool] = {_HOST: False}
    for path in folder.glob("*_*+*.db"):
        kind, _, process = path.stem.rpartition("_")
        host, _, pid = process.rpartition("+")
        if host not in gone:
            gone[host] = _gone(folder, host)
        if not gone[host] and (host != _HOST or not pid.isdecimal() or _alive(int(pid))):
            continue
        if not path.stat().st_size:
            # Of a process that was killed as it made the file. Nothing was counted; and to read it would end whoever starts.
            path.unlink()
            continue
        total = MmapedDict(str(folder / f"{kind}_{_HOST}+{RETIRED}.db"))
        try:
            for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):
                before, _ = total.read_value(key)
                total.write_value(key, before + value, timestamp)
        finally:
            total.close()
        path.unlink()


def _gone(folder: Path, host: str) -> bool:
    """Whether no process of another host lives. One that never said so (an older version) is left alone."""
    with contextlib.suppress(OSError), (folder / f"{host}.alive").open("r+") as lives:
        fcntl.flock(lives, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() if Path("/proc/self").exists() else True
