"""A PgBouncer of our own in transaction mode, before a PostgreSQL that is there already.

`python -m tests.private_pgbouncer COMMAND…` runs a command with DATABASE_URL leading through one.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.stack import free_port, wait_for

PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
# Of transactions that run at once. Smaller than the number of our threads, so that sessions do change hands.
POOL_SIZE = 4


class PrivatePgBouncer:
    """One pooler for all databases of the server in `database_url`; sessions change hands with each transaction."""

    def __init__(self, database_url: str, *, pool_size: int = POOL_SIZE):
        assert Path(PROGRAM).exists(), "PgBouncer is needed: apt install pgbouncer"
        server = urlsplit(database_url)
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="private-pgbouncer-")), free_port()
        self.url = urlunsplit(server._replace(netloc=f"{server.username}@127.0.0.1:{self.port}"))
        password = f" password={server.password}" if server.password else ""
        (self.folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={server.hostname} port={server.port or 5432} user={server.username}{password}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            # Whoever reaches it is that user: it listens on loopback, for a test.
            "auth_type = any\npool_mode = transaction\n"
            f"default_pool_size = {pool_size}\nmax_client_conn = 500\n"
            # A server that is away is an answer of ours within seconds (503), and not a client that waits.
            "query_wait_timeout = 5\nserver_login_retry = 1\nserver_connect_timeout = 3\n"
            f"pidfile = {self.folder / 'pid'}\nlogfile = {self.folder / 'log'}\nadmin_users = admin\n"
        )
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self):
        as_other = []
        if os.geteuid() == 0:
            # It refuses to run as root.
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
            as_other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        self.process = subprocess.Popen(
            [*as_other, PROGRAM, "-q", str(self.folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, 10, "the private PgBouncer answers")

    def _answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        (self.folder / "pid").unlink(missing_ok=True)

    def log(self):
        return (self.folder / "log").read_text()

    def close(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> int:
    from tests.settings import DATABASE_URL

    pooler = PrivatePgBouncer(DATABASE_URL)
    began = time.monotonic()
    try:
        environment = {**os.environ, "DATABASE_URL": pooler.url, "DATABASE_POOLED": "true"}
        code = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
        sessions = pooler.log().count("new connection to server")
        print(f"PgBouncer: {sessions} sessions at PostgreSQL in {time.monotonic() - began:.0f} s")
        return code
    finally:
        pooler.close()


if __name__ == "__main__":
    sys.exit(main())
