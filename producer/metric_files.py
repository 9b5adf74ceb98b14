"""The folder in which processes share their counters: made at start, and kept small although processes come and go.

The library writes a file per process and keeps those of dead ones, or a sum would fall. So we add the dead ones up into
one file, under a lock that scrapes share: nobody ever sees a value twice or not at all.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

RETIRED = "retired"


def prepare(folder: Path) -> None:
    """Makes the folder, and tells the library to use it. Before the first counter is made."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(_identity)


# No underscore: the library separates by it.
_HOST = socket.gethostname().replace("_", "-")
_known = (0, "")


def _identity() -> str:
    """Unique over the containers that share the folder: each of them has a process 7. Asked at each count: cheap."""
    global _known
    pid = os.getpid()
    if _known[0] != pid:
        _known = (pid, f"{_HOST}+{pid}")
    return _known[1]


@contextlib.contextmanager
def settled(folder: Path) -> Iterator[None]:
    """A moment in which no file is added to another; files of dead processes were, just before."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _retire(folder)
        yield


def _retire(folder: Path) -> None:
    """Adds the counters of this host's dead processes to one file for each kind."""
    for path in folder.glob(f"*_{_HOST}+*.db"):
        kind, _, process = path.stem.rpartition("_")
        pid = process.rpartition("+")[2]
        if not pid.isdecimal() or _alive(int(pid)):
            continue
        total = MmapedDict(str(folder / f"{kind}_{_HOST}+{RETIRED}.db"))
        try:
            for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):
                before, _ = total.read_value(key)
                total.write_value(key, before + value, timestamp)
        finally:
            total.close()
        path.unlink()


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() if Path("/proc/self").exists() else True
