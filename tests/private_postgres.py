"""A PostgreSQL server of our own, to be stopped, killed, filled and made read-only: never the one that others use."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2

from tests.stack import free_port, wait_for


def postgres_bin() -> Path | None:
    """The folder of initdb and pg_ctl, or None where the server is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class PrivatePostgres:
    """One cluster in a folder of its own; keeps its data over restarts. Root may not run it, so `postgres` does.

    `host`: in a network namespace (tests/hosts.py). `certificate`: the files of one and of its key, for TLS.
    `archiving`: its log goes into an archive, for a recovery to some point. `recovered`: a server that was archiving and had a
    `base_backup`, and the name of a restore point.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        disk_mb: int = 0,
        standby_of: "PrivatePostgres | None" = None,
        host=None,
        certificate=None,
        archiving=False,
        recovered: "tuple[PrivatePostgres, str] | None" = None,
    ):
        self.bin = postgres_bin()
        assert self.bin is not None, "PostgreSQL's server programs are needed: apt install postgresql"
        self.folder = Path(tempfile.mkdtemp(prefix="private-pg-"))
        self.mounted = bool(disk_mb)
        if disk_mb:
            # A disk that can be filled without harm to others. Needs root.
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "tmpfs", self.folder], check=True)
        self.port = free_port()
        self.address, self.prefix = (host.address, host.prefix) if host else ("127.0.0.1", [])
        self.url = f"postgres://postgres@{self.address}:{self.port}/postgres"
        self.data, self.archive, self.base = self.folder / "data", self.folder / "archive", self.folder / "base"
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        if standby_of:
            # -R: it follows that one from its first start on.
            self._run("pg_basebackup", "-d", standby_of.url, "-D", self.data, "-R", "-c", "fast", "--no-sync")
        elif recovered:
            subprocess.run(["cp", "-a", recovered[0].base, self.data], check=True)
        else:
            self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = '{self.address}'\nport = {self.port}\nunix_socket_directories = '{self.folder}'\n"
                f"max_connections = {max_connections}\nshared_buffers = 64MB\nlog_min_messages = fatal\n"
            )
        if archiving:
            self._archive()
        if recovered:
            self._recover(recovered[0].archive, recovered[1])
        if certificate:
            self._use_tls(*certificate)
        if host and not standby_of:
            with (self.data / "pg_hba.conf").open("a") as access:
                access.write("host all all samenet trust\nhost replication all samenet trust\n")

    def _archive(self) -> None:
        self.archive.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.archive, "postgres", "postgres")
        with (self.data / "postgresql.conf").open("a") as conf:
            # A segment that is not full goes too, each second.
            conf.write(f"archive_mode = on\narchive_command = 'cp %p {self.archive}/%f'\narchive_timeout = 1\n")

    def _recover(self, archive: Path, point: str) -> None:
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"archive_mode = off\nrestore_command = 'cp {archive}/%f %p'\n"
                f"recovery_target_name = '{point}'\nrecovery_target_action = promote\n"
            )
        (self.data / "recovery.signal").touch()

    def base_backup(self) -> None:
        self._run("pg_basebackup", "-d", self.url, "-D", self.base, "-c", "fast", "--no-sync")

    def recovery_point(self, name: str) -> None:
        """Names this moment, and waits until the log up to it is in the archive."""
        file = self.sql("SELECT pg_walfile_name(pg_create_restore_point(%s))", name)[0][0]
        wait_for((self.archive / file).exists, 60, "the log is archived")

    def _use_tls(self, certfile: Path, keyfile: Path) -> None:
        for name, source in (("server.crt", certfile), ("server.key", keyfile)):
            shutil.copy(source, self.data / name)
            (self.data / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(self.data / name, "postgres", "postgres")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write("ssl = on\n")

    def _run(self, program, *arguments, check=True):
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        with (Path("/dev/null")).open("wb") as nowhere:
            done = subprocess.run(
                [*self.prefix, *as_postgres, str(self.bin / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=nowhere,
                stderr=nowhere,
                cwd="/",
                timeout=90,
            )
        assert done.returncode == 0 or not check, f"{program} {arguments[0]} ended with {done.returncode}"

    def start(self):
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "server.log", "-w", "-t", "60", "start")
        wait_for(self._answers, 60, "the private PostgreSQL answers")

    def stop(self, mode="fast", check=True):
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "-m", mode, "stop", check=check)
        assert self.is_down(), "the private PostgreSQL still answers after its stop"

    def _answers(self):
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(self.url, connect_timeout=2).close()
            return True
        return False

    def is_down(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) != 0

    def wait_for_standby(self, standbys=1):
        """From here on no COMMIT is answered before one standby has it on disk."""
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
        self.sql("SELECT pg_reload_conf()")
        states = "SELECT sync_state FROM pg_stat_replication"
        wait_for(lambda: self.sql(states) == [("quorum",)] * standbys, 30, "every standby counts")

    def received(self):
        """How much of its primary's log a standby has, in bytes."""
        return self.sql("SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')")[0][0]

    def follow(self, primary):
        """A standby goes on after another one was promoted."""
        self.sql(f"ALTER SYSTEM SET primary_conninfo = 'host={primary.address} port={primary.port} user=postgres'")
        self.sql("SELECT pg_reload_conf()")

    def promote(self):
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "promote")

    def pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self):
        """kill -9 of the postmaster, proven: the port refuses. Its children end when they notice."""
        os.kill(self.pid(), signal.SIGKILL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if self.is_down():
                return
            time.sleep(0.05)
        raise AssertionError("the private PostgreSQL still answers after kill -9")

    def sql(self, statement, *parameters):
        connection = psycopg2.connect(self.url, connect_timeout=5)
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else cursor.rowcount
        finally:
            connection.close()

    def close(self):
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop", check=False)
        if self.mounted:
            subprocess.run(["umount", "-l", self.folder], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
