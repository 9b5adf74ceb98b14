"""Hosts on this machine: network namespaces on one bridge, each with an address of its own, to be cut off from each other.

Needs root and iproute2. The tests themselves stand outside, at the bridge, and reach every host.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import uuid

POSSIBLE = os.geteuid() == 0 and shutil.which("ip") is not None


def ip(*arguments, check=True):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 or not check, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Host:
    """One namespace; `prefix` before a command runs it there."""

    def __init__(self, name, number, address, bridge):
        self.name, self.address = name, address
        # Not in any name service: whoever wants it gets a table (tests/private_cluster.py).
        self.domain = f"host{number}.{bridge}.test"
        self.prefix = ["ip", "netns", "exec", name]
        inside, outside = f"{bridge}i{number}", f"{bridge}o{number}"
        ip("netns", "add", name)
        ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        ip("link", "set", outside, "master", bridge, "up")
        ip("link", "set", inside, "netns", name)
        self.ip("addr", "add", f"{address}/24", "dev", inside)
        self.ip("link", "set", inside, "up")
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments):
        return ip("-n", self.name, *arguments)

    def cut_off(self, others):
        """Packets to the others vanish, as behind a broken switch: no reset tells anybody."""
        for other in others:
            self.ip("route", "add", "blackhole", f"{other}/32")

    def heal(self):
        for line in self.ip("route", "show", "type", "blackhole").splitlines():
            self.ip("route", "del", "blackhole", line.split()[1])


class Hosts:
    """So many of them; `outside` is the address at which they reach whatever runs beside the tests."""

    def __init__(self, count):
        assert POSSIBLE, "network namespaces need root and iproute2"
        self.bridge = f"pb{uuid.uuid4().hex[:6]}"
        net = f"10.{random.randrange(100, 250)}.{random.randrange(250)}"
        self.outside = f"{net}.254"
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.outside}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        self.all = [Host(f"{self.bridge}-{n}", n, f"{net}.{n}", self.bridge) for n in range(1, count + 1)]

    def __getitem__(self, number):
        return self.all[number]

    def cut_off(self, host):
        """From its peers; those outside still reach it."""
        host.cut_off([other.address for other in self.all if other is not host])

    def close(self):
        for host in self.all:
            # What still runs there, a port mapper of Erlang's for one, was started there by us.
            for pid in ip("netns", "pids", host.name, check=False).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", host.name, check=False)
        ip("link", "del", self.bridge, check=False)
