"""A RabbitMQ node of a test's own: its data, its ports, its cookie, and the port mapper that Erlang wants beside it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, Self

from kombu import Connection
from kombu.exceptions import OperationalError

from ctxqueue.testing.processes import KeptProcess
from tests.waiting import wait_until

INSTALL_HINT = "no rabbitmq-server found; on Debian and Ubuntu: apt-get install rabbitmq-server"
START_SECONDS = 90.0


def find_rabbitmq() -> Path | None:
    """Return the server's own start script; the one on the PATH wants to be called by root or by its own user."""
    for place in ("/usr/lib/rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server")):
        if place and Path(place).exists() and shutil.which("epmd"):
            return Path(place)
    return None


class EmbeddedRabbitMQ:
    """A node on loopback, from entry to exit."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self._folder = Path(tempfile.mkdtemp(prefix="ctxqueue-rabbitmq-"))
        self._processes: list[KeptProcess] = []
        self.url = ""

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _start(self) -> Self:
        mapper, port, distribution = (_free_port() for _ in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        environment = {
            **os.environ,
            "HOME": str(self._folder),  # where the cookie is
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"ctxqueue-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_MNESIA_BASE": str(self._folder),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none.env"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
        }
        (self._folder / "plugins").write_text("[].\n")
        self._run(["epmd", "-port", str(mapper), "-address", "127.0.0.1"], "epmd", environment)
        server = self._run(["/bin/sh", str(self._script)], "server", environment)

        def answers() -> bool:
            if server.ended.is_set():
                raise RuntimeError(f"RabbitMQ ended:\n{(self._folder / 'server').read_text()[-4_000:]}")
            try:
                with Connection(self.url) as connection:
                    connection.ensure_connection(max_retries=1, timeout=1)
            except (OSError, OperationalError):
                return False
            return True

        wait_until(answers, "RabbitMQ answers", START_SECONDS)
        return self

    def held(self, queue: str) -> int:
        """Return how many messages are ready in a queue; one that is out is in none."""
        with Connection(self.url) as connection:
            channel: Any = connection.channel()
            return int(channel.queue_declare(queue=queue, passive=True).message_count)

    def close(self) -> None:
        """End the node and its port mapper, and remove its data."""
        for process in reversed(self._processes):
            process.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, command: list[str], name: str, environment: dict[str, str]) -> KeptProcess:
        process = KeptProcess(command, self._folder / name, cwd=self._folder, env=environment)
        self._processes.append(process)
        return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
