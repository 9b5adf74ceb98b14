"""A RabbitMQ cluster of our own: three nodes, each on a host of its own (tests/hosts.py), to be killed and cut off."""

import contextlib
import json
import secrets
from pathlib import Path

from tests.hosts import Hosts
from tests.private_rabbitmq import PrivateRabbitMQ
from tests.stack import wait_for

NODES = 3
# `guest` is refused off loopback.
USER, PASSWORD = "producer", "only-for-tests"


class PrivateCluster:
    """`url` names every node, as BROKER_URL does. A node that is in a minority pauses."""

    def __init__(self, folder: Path, hosts: Hosts):
        self.nodes, cookie = [], secrets.token_hex(16)
        # Erlang's own table of hosts.
        table = folder / "inetrc"
        lines = [f'{{host, {{{host.address.replace(".", ",")}}}, ["{host.domain}"]}}.' for host in hosts.all]
        table.write_text("\n".join([*lines, "{lookup, [file, native]}."]) + "\n")
        for number in range(NODES):
            config = f"default_user = {USER}\ndefault_pass = {PASSWORD}\ncluster_partition_handling = pause_minority\n"
            if self.nodes:
                # The first node forms the cluster, the others ask it at their first start.
                config += (
                    "cluster_formation.peer_discovery_backend = classic_config\n"
                    f"cluster_formation.classic_config.nodes.1 = {self.nodes[0].node}\n"
                )
            place = folder / f"node-{number}"
            place.mkdir()
            node = PrivateRabbitMQ(place, host=hosts[number], config=config)
            node.url = f"amqp://{USER}:{PASSWORD}@{node.address}:{node.port}//"
            node.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = "+S 1:1 +sbwt none"
            # What is cut off and sends no reset counts as down after so long (seconds); the default is a minute.
            node.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += " -kernel net_ticktime 10"
            node.env["ERL_INETRC"] = str(table)
            jar = place / ".erlang.cookie"
            jar.write_text(cookie)
            jar.chmod(0o400)
            self.nodes.append(node)
        self.url = ";".join(node.url for node in self.nodes)
        self.nodes[0].start()
        for node in self.nodes[1:]:
            node.launch()
        for node in self.nodes[1:]:
            wait_for(node.answers, 120, "a node of the private cluster answers")

    def queue(self, name, *columns):
        """What the first node that knows says of a queue; None where none does. One that has paused knows nothing."""
        for node in self.alive():
            told = node.ctl("list_queues", "--formatter=json", "name", *columns, check=False)
            with contextlib.suppress(ValueError, StopIteration):
                return next(tuple(row[column] for column in columns) for row in json.loads(told) if row["name"] == name)
        return None

    def leader(self, queue):
        (name,) = self.queue(queue, "leader")
        return next(node for node in self.nodes if node.node == name)

    def whole(self, queue):
        """Whether the queue has all its members, and all of them live."""
        members, online = self.queue(queue, "members", "online") or ([], [])
        return len(members) == len(online) == NODES

    def alive(self):
        return [node for node in self.nodes if node.process.poll() is None]

    def close(self):
        for node in self.nodes:
            node.close()
