"""A Redis Cluster on loopback that a test run starts for itself, moves slots in and kills nodes of."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing.servers import EmbeddedServer, quoted
from ctxqueue.testing.wire import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SLOTS: Final = 16_384
POLL_INTERVAL: Final = 0.01
"""Seconds."""
JOINING: Final = 1.0
"""Seconds. The node timeout while the cluster forms: nodes get to know each other at its pace."""
BUS: Final = 10_000
"""From a node's port to the port that it talks to the other nodes on."""
PORTS: Final = range(20_000, 32_000)
"""Below what the kernel gives out by itself, so that the second port of a node is not taken in between."""
TIMEOUT: Final = "cluster-node-timeout"
MIGRATE_TIMEOUT: Final = 5_000
"""Milliseconds."""


class EmbeddedCluster:
    """A cluster of masters with replicas, complete and agreed when started, that lives at most as long as this process.

    As a context manager it is started on entry and removed on exit. ``nodes`` are `EmbeddedServer`: the first
    ``masters`` of them begin as masters; kill, pause and restart them as you like. A master is taken for dead after
    ``node_timeout`` seconds. Raises ConfigurationError if it does not come up within ``start_timeout`` seconds.
    """

    def __init__(
        self,
        *,
        masters: int = 3,
        replicas: int = 1,
        password: str | None = None,
        node_timeout: float = 1.0,
        config: Mapping[str, str] | None = None,
        binary: Path | None = None,
        start_timeout: float = 60.0,
    ) -> None:
        self.masters = masters
        self.replicas = replicas
        self.password = password
        self.node_timeout = node_timeout
        self.start_timeout = start_timeout
        settings = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            TIMEOUT: str(int(JOINING * 1_000)),
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
            **(config or {}),
        }
        if password is not None:
            settings["masterauth"] = quoted(password)
        self.nodes = [
            _Node(password=password, config=settings, binary=binary, start_timeout=start_timeout)
            for _ in range(masters * (1 + replicas))
        ]

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # raised on: there is no block yet whose end would stop what has started
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start the nodes, make a cluster of them, and return once every node sees it whole."""
        at_once([node.start for node in self.nodes])
        masters, replicas = self.nodes[: self.masters], self.nodes[self.masters :]
        for number, node in enumerate(masters):
            first, last = SLOTS * number // self.masters, SLOTS * (number + 1) // self.masters
            self.ask(node, "CLUSTER", "ADDSLOTS", *range(first, last))
        for number, node in enumerate(self.nodes, 1):
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number)
        for node in self.nodes[1:]:
            self.ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", _port(node))
        deadline = time.monotonic() + self.start_timeout
        self._until(self._know_each_other, deadline)
        for number, node in enumerate(replicas):
            self.ask(node, "CLUSTER", "REPLICATE", self.id_of(masters[number % self.masters]))
        self._until(self.is_whole, deadline)
        for node in self.nodes:
            node.config[TIMEOUT] = str(int(self.node_timeout * 1_000))  # for a restart
            self.ask(node, "CONFIG", "SET", TIMEOUT, node.config[TIMEOUT])
        return self

    def join(self) -> EmbeddedServer:
        """Start one more node, which serves no slot yet, and return it once all nodes know it."""
        first = self.nodes[0]
        node = _Node(password=self.password, config=first.config, binary=first.binary, start_timeout=self.start_timeout)
        self.nodes.append(node)
        node.start()
        self.ask(first, "CLUSTER", "MEET", "127.0.0.1", _port(node))
        self._until(
            lambda: self._know_each_other() and "cluster_state:ok" in self.ask(node, "CLUSTER", "INFO"),
            time.monotonic() + self.start_timeout,
        )
        return node

    def close(self) -> None:
        """Stop the nodes and remove their directories."""
        at_once([node.close for node in self.nodes])

    def url(self) -> str:
        """Return the cluster's URL, with all nodes and the password."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis+cluster://{login}{','.join(f'127.0.0.1:{_port(node)}' for node in self.nodes)}"

    def ask(self, node: EmbeddedServer, *words: str | int) -> Any:
        """Send one command to a node and return its reply."""
        return ask(_port(node), *words, password=self.password)

    def id_of(self, node: EmbeddedServer) -> str:
        """Return a node's name in the cluster."""
        name: str = self.ask(node, "CLUSTER", "MYID")
        return name

    def slot_of(self, key: str) -> int:
        """Return the slot of a key."""
        slot: int = self.ask(self._alive(), "CLUSTER", "KEYSLOT", key)
        return slot

    def master_of(self, slot: int) -> EmbeddedServer:
        """Return the node that serves a slot, as most of the nodes that run see it."""
        seen = [port for node in self.nodes if (port := self._owner(node, slot))]
        if not seen:
            raise ConfigurationError(f"no node knows who serves slot {slot}")
        port = max(set(seen), key=seen.count)
        return next(node for node in self.nodes if node.port == port)

    def is_whole(self) -> bool:
        """Whether every node sees all slots served, and each master with its replicas, in step with it."""
        return all(self._sees_all(node) for node in self.nodes)

    def wait_until_whole(self) -> None:
        """Return once it is; raises ConfigurationError after ``start_timeout`` seconds."""
        self._until(self.is_whole, time.monotonic() + self.start_timeout)

    def moving(self, slot: int, target: EmbeddedServer) -> SlotMove:
        """Begin to move a slot to another master; the keys stay until they are moved."""
        return SlotMove(self, slot, self.master_of(slot), target)

    def move_slot(self, slot: int, target: EmbeddedServer) -> None:
        """Move a slot with all its keys, one by one."""
        move = self.moving(slot, target)
        while move.some_keys(1):
            pass
        move.finish()

    def serving(self) -> list[EmbeddedServer]:
        """Return the nodes that serve slots, in the order of ``nodes``."""
        ports = {section[2][1] for section in self.ask(self._alive(), "CLUSTER", "SLOTS")}
        return [node for node in self.nodes if node.port in ports]

    def _alive(self) -> EmbeddedServer:
        for node in self.nodes:
            with contextlib.suppress(OSError):
                if node.running and ask(_port(node), "PING", password=self.password, timeout=1.0):
                    return node
        raise ConfigurationError("no node of the cluster answers")

    def _owner(self, node: EmbeddedServer, slot: int) -> int | None:
        if not node.running:
            return None
        try:
            sections = ask(_port(node), "CLUSTER", "SLOTS", password=self.password, timeout=1.0)
        except OSError:  # paused, or going
            return None
        return next((section[2][1] for section in sections if section[0] <= slot <= section[1]), None)

    def _know_each_other(self) -> bool:
        return all(len(self._known(node)) == len(self.nodes) for node in self.nodes)

    def _known(self, node: EmbeddedServer) -> set[str]:
        """Return the names of the nodes that one is connected with, itself included."""
        lines = self.ask(node, "CLUSTER", "NODES").splitlines()
        fields = [line.split() for line in lines]
        return {each[0] for each in fields if each[7] == "connected" and "handshake" not in each[2]}

    def _sees_all(self, node: EmbeddedServer) -> bool:
        if "cluster_state:ok" not in self.ask(node, "CLUSTER", "INFO"):
            return False
        sections = self.ask(node, "CLUSTER", "SLOTS")
        if sum(last - first + 1 for first, last, *_ in sections) != SLOTS:
            return False
        if any(len(section[2:]) != 1 + self.replicas for section in sections):
            return False
        replication = self.ask(node, "INFO", "replication")
        return "role:master" in replication or "master_link_status:up" in replication

    def _until(self, reached: Callable[[], bool], deadline: float) -> None:
        while not reached():
            if time.monotonic() >= deadline:
                views = "\n".join(self.ask(node, "CLUSTER", "NODES") for node in self.nodes if node.running)
                raise ConfigurationError(f"the cluster is not whole within {self.start_timeout} s:\n{views}")
            time.sleep(POLL_INTERVAL)


class SlotMove:
    """A slot on its way from one master to another: MIGRATING and IMPORTING until ``finish``."""

    def __init__(self, cluster: EmbeddedCluster, slot: int, source: EmbeddedServer, target: EmbeddedServer) -> None:
        if source is target:
            raise ConfigurationError(f"slot {slot} is there already")
        self.slot = slot
        self.source = source
        self.target = target
        self._cluster = cluster
        cluster.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
        cluster.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))

    def some_keys(self, count: int) -> int:
        """Move up to so many keys; return how many were moved."""
        keys = self._cluster.ask(self.source, "CLUSTER", "GETKEYSINSLOT", self.slot, count)
        if keys:
            login = ["AUTH", self._cluster.password] if self._cluster.password else []
            words = ["MIGRATE", "127.0.0.1", _port(self.target), "", 0, MIGRATE_TIMEOUT, *login, "KEYS", *keys]
            self._cluster.ask(self.source, *words)
        return len(keys)

    def finish(self) -> None:
        """Give the slot to its new master; call it when no key is left."""
        name = self._cluster.id_of(self.target)
        others = [node for node in self._cluster.serving() if node not in (self.target, self.source)]
        for node in (self.target, self.source, *others):
            self._cluster.ask(node, "CLUSTER", "SETSLOT", self.slot, "NODE", name)


class _Node(EmbeddedServer):
    """A server that talks to its like on a second port."""

    def _free_port(self) -> int:
        for port in random.sample(PORTS, 100):
            if _is_free(port) and _is_free(port + BUS):
                return port
        raise ConfigurationError("no two free ports that belong together: is the machine full of servers?")


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Make calls in threads of their own; raises the first error after all have ended."""
    errors: list[BaseException] = []

    def make(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _port(node: EmbeddedServer) -> int:
    if node.port is None:
        raise ConfigurationError("the node has no port yet: call start()")
    return node.port
