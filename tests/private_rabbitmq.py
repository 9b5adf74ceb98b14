"""A RabbitMQ node of our own, to be started, killed, frozen and filled: never the one that others use."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

from tests.stack import free_port, wait_for


class PrivateRabbitMQ:
    """One node with its own name, ports and data; keeps its data over restarts.

    `host`: in a network namespace (tests/hosts.py). `config`: further lines of rabbitmq.conf. `certificate`: the files of one and
    of its key; then `url` leads to a listener with TLS.
    """

    def __init__(self, folder: Path, *, host=None, config: str = "", certificate=None):
        self.folder, self.port = folder, free_port()
        self.address, self.prefix = (host.address, host.prefix) if host else ("127.0.0.1", [])
        self.node = f"private{uuid.uuid4().hex[:8]}@{host.domain if host else 'localhost'}"
        self.url = f"amqp://guest:guest@{self.address}:{self.port}//"
        if certificate:
            tls_port, (certfile, keyfile) = free_port(), certificate
            self.url = f"amqps://guest:guest@{self.address}:{tls_port}//"
            config += f"listeners.ssl.1 = {self.address}:{tls_port}\nssl_options.certfile = {certfile}\n"
            config += f"ssl_options.keyfile = {keyfile}\nssl_options.verify = verify_none\n"
        self.process = None
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {self.address}:{self.port}\nlog.file.level = warning\nloopback_users = none\n{config}"
        )
        # In place of the machine's own, which may tie Erlang to loopback.
        (folder / "rabbitmq-env.conf").write_text("")
        self.env = {
            **os.environ,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self.node,
            # A host's name with a dot in it is a long one.
            "RABBITMQ_USE_LONGNAME": "true" if host else "false",
            "RABBITMQ_NODE_IP_ADDRESS": self.address,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }

    def start(self):
        self.launch()
        wait_for(self.answers, 90, "the private RabbitMQ node answers")

    def launch(self):
        """Starts it and does not wait."""
        command = [*self.prefix, "/usr/lib/rabbitmq/bin/rabbitmq-server"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)

    def answers(self):
        """It accepts before it serves: only a protocol header answered by connection.start counts."""
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1) as sock:
            sock.settimeout(2)
            sock.sendall(b"AMQP\x00\x00\x09\x01")
            return sock.recv(1) == b"\x01"
        return False

    def ctl(self, *arguments, check=True):
        """rabbitmqctl against this node, with its own cookie; returns what it printed."""
        # Not the wrapper in /usr/sbin: run by root it becomes `rabbitmq`, whose cookie is another.
        command = [*self.prefix, "/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", self.node, *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9, proven: the port refuses."""
        self.signal(signal.SIGKILL)
        self.process.wait(10)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex((self.address, self.port)):
                    return
            time.sleep(0.05)
        raise AssertionError("the private node still answers after kill -9")

    def close(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
