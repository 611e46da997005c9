"""A master with replicas, watched by Sentinels, that a test run starts for itself."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing.clusters import POLL_INTERVAL, at_once
from ctxqueue.testing.servers import EmbeddedServer, quoted
from ctxqueue.testing.wire import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MASTER_NAME: Final = "mymaster"
PARALLEL_SYNCS: Final = 5


class EmbeddedSentinels:
    """One master, its replicas and three Sentinels or more, that live at most as long as this process.

    As a context manager it is started on entry, complete and agreed, and removed on exit. ``servers[0]`` begins as
    the master; ``master()`` asks who it is now. A master is taken for dead after ``down_after`` seconds.
    ``password`` is the servers', ``sentinel_password`` the Sentinels' own.
    Raises ConfigurationError if it does not come up within ``start_timeout`` seconds.
    """

    def __init__(
        self,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        password: str | None = None,
        sentinel_password: str | None = None,
        down_after: float = 1.0,
        config: Mapping[str, str] | None = None,
        binary: Path | None = None,
        start_timeout: float = 20.0,
    ) -> None:
        self.password = password
        self.sentinel_password = sentinel_password
        self.start_timeout = start_timeout
        settings = {"repl-diskless-sync-delay": "0", **(config or {})}
        if password is not None:
            settings["masterauth"] = quoted(password)
        self.servers = [
            EmbeddedServer(password=password, config=settings, binary=binary, start_timeout=start_timeout)
            for _ in range(1 + replicas)
        ]
        self.sentinels = [
            _Sentinel(self.servers[0], sentinels // 2 + 1, down_after, sentinel_password, binary, start_timeout)
            for _ in range(sentinels)
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
        """Start all of it and return once every Sentinel knows the others and the replicas are in step."""
        at_once([server.start for server in self.servers])
        for server in self.servers[1:]:
            ask(_port(server), "REPLICAOF", "127.0.0.1", _port(self.servers[0]), password=self.password)
        at_once([sentinel.start for sentinel in self.sentinels])
        self.wait_until_whole()
        return self

    def close(self) -> None:
        """Stop all of it and remove its directories."""
        at_once([server.close for server in (*self.sentinels, *self.servers)])

    def url(self, db: int = 0, *, password: str | None = None) -> str:
        """Return the URL in Celery's form, with the name of the master; ``password`` replaces the servers' own."""
        password = self.password if password is None else password
        login = f":{quote(password, safe='')}@" if password else ""
        addresses = ";".join(f"sentinel://{login}127.0.0.1:{_port(each)}/{db}" for each in self.sentinels)
        key = f"&sentinel_password={quote(self.sentinel_password, safe='')}" if self.sentinel_password else ""
        return f"{addresses}?master_name={MASTER_NAME}{key}"

    def master(self) -> EmbeddedServer:
        """Return the master, as most of the Sentinels that run see it."""
        seen = [port for sentinel in self.sentinels if (port := self._master_port(sentinel))]
        if not seen:
            raise ConfigurationError("no Sentinel answers")
        port = max(set(seen), key=seen.count)
        return next(server for server in self.servers if server.port == port)

    def is_whole(self) -> bool:
        """Whether every Sentinel sees one and the same master and all the others, and the replicas are in step."""
        with contextlib.suppress(OSError):
            agreed = len({self._master_port(sentinel) for sentinel in self.sentinels}) == 1
            return agreed and all(map(self._sees_all, self.sentinels)) and all(map(self._in_step, self.servers))
        return False

    def wait_until_whole(self) -> None:
        """Return once it is; raises ConfigurationError after ``start_timeout`` seconds."""
        self._until(self.is_whole, time.monotonic() + self.start_timeout)

    def _master_port(self, sentinel: EmbeddedServer) -> int | None:
        if not sentinel.running:
            return None
        try:
            answer = self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        except OSError:  # paused, or going
            return None
        return int(answer[1]) if answer else None

    def _sees_all(self, sentinel: EmbeddedServer) -> bool:
        [master] = map(_fields, self._ask(sentinel, "SENTINEL", "MASTERS"))
        return (
            master["flags"] == "master"
            and int(master["num-other-sentinels"]) == len(self.sentinels) - 1
            and int(master["num-slaves"]) == len(self.servers) - 1
        )

    def _in_step(self, server: EmbeddedServer) -> bool:
        """Whether it is the master, or follows it. A Sentinel's own word on that may be ten seconds old."""
        told = ask(_port(server), "INFO", "replication", password=self.password)
        if server.port == self._master_port(self.sentinels[0]):
            return "role:master" in told and told.count("state=online") == len(self.servers) - 1
        return "role:slave" in told and "master_link_status:up" in told

    def _ask(self, sentinel: EmbeddedServer, *words: str) -> Any:
        return ask(_port(sentinel), *words, password=self.sentinel_password, timeout=1.0)

    def _until(self, reached: Callable[[], bool], deadline: float) -> None:
        while not reached():
            if time.monotonic() >= deadline:
                views = [self._ask(each, "SENTINEL", "MASTERS") for each in self.sentinels if each.running]
                raise ConfigurationError(f"the Sentinels do not agree within {self.start_timeout} s: {views}")
            time.sleep(POLL_INTERVAL)


class _Sentinel(EmbeddedServer):
    """A server in Sentinel mode that watches one master."""

    def __init__(
        self,
        master: EmbeddedServer,
        quorum: int,
        down_after: float,
        password: str | None,
        binary: Path | None,
        start_timeout: float,
    ) -> None:
        super().__init__(password=password, binary=binary, start_timeout=start_timeout)
        self._master = master
        self._quorum = quorum
        self._down_after_ms = int(down_after * 1_000)

    def _command_line(self, binary: Path, configuration: Path) -> list[str]:
        return [*super()._command_line(binary, configuration), "--sentinel"]

    def _directives(self, directory: Path, port: int) -> Iterator[tuple[str, str]]:
        yield "bind", "127.0.0.1"
        yield "port", str(port)
        yield "dir", quoted(str(directory))
        yield "sentinel", f"monitor {MASTER_NAME} 127.0.0.1 {_port(self._master)} {self._quorum}"
        yield "sentinel", f"down-after-milliseconds {MASTER_NAME} {self._down_after_ms}"
        yield "sentinel", f"failover-timeout {MASTER_NAME} {10 * self._down_after_ms}"
        yield "sentinel", f"parallel-syncs {MASTER_NAME} {PARALLEL_SYNCS}"
        if self._master.password:
            yield "sentinel", f"auth-pass {MASTER_NAME} {quoted(self._master.password)}"
        if self.password:
            yield "requirepass", quoted(self.password)
            yield "sentinel", f"sentinel-pass {quoted(self.password)}"


def _fields(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _port(server: EmbeddedServer) -> int:
    if server.port is None:
        raise ConfigurationError("the server has no port yet: call start()")
    return server.port
