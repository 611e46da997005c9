"""A Redis-compatible server that a test run, a demo or a benchmark starts for itself and takes down again."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing.binaries import find_server
from ctxqueue.testing.processes import KeptProcess
from ctxqueue.testing.wire import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["EmbeddedServer", "find_server"]

PORT_ATTEMPTS: Final = 5
POLL_INTERVAL: Final = 0.005
"""Seconds."""
ANSWER_TIMEOUT: Final = 1.0
"""Seconds."""
LONGEST_SOCKET_PATH: Final = 103
"""Bytes. What macOS allows; Linux allows four more."""


class EmbeddedServer:
    """A server on loopback, or on a unix socket, that lives at most as long as this process.

    As a context manager it is started on entry; on exit it is stopped and its directory removed. It keeps
    nothing on disk unless ``appendonly``; what it kept then lasts over ``restart()``, not over ``close()``.
    On Linux it ends with this process however that ends; elsewhere not if this process is killed by SIGKILL.

    ``config`` holds further directives of the server's configuration file, values spelt as there; they win.
    ``start_timeout`` is in seconds. A failed start is a ConfigurationError with the end of the server's log.
    """

    def __init__(
        self,
        *,
        password: str | None = None,
        unix_socket: bool = False,
        appendonly: bool = False,
        config: Mapping[str, str] | None = None,
        binary: Path | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        self.password = password
        self.unix_socket = unix_socket
        self.appendonly = appendonly
        self.config = dict(config or {})
        self.binary = binary
        self.start_timeout = start_timeout
        self.port: int | None = None
        """The TCP port, kept over a restart; None before the first start, and on a unix socket."""
        self._directory: Path | None = None
        self._launched: list[KeptProcess] = []
        self._clean_up: weakref.finalize[..., EmbeddedServer] | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # raised on: there is no block yet whose end would stop what has started
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether its process is there; that of a paused server is."""
        return bool(self._launched) and not self._launched[-1].ended.is_set()

    @property
    def pid(self) -> int:
        """The process id. Raises ConfigurationError if the server is not running."""
        return self._process().pid

    def url(self, db: int = 0) -> str:
        """Return a database's URL, password included. Raises ConfigurationError before the first start."""
        if self._directory is None:
            raise ConfigurationError("the embedded server has no address yet: call start()")
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        if self.unix_socket:
            return f"unix://{login}{quote(str(_socket(self._directory)))}?db={db}"
        return f"redis://{login}127.0.0.1:{self.port}/{db}"

    def start(self) -> Self:
        """Start the server and return once it answers; does nothing if it is running.

        Raises ConfigurationError if there is no binary, or it does not answer within ``start_timeout``.
        """
        if self.running:
            return self
        binary = self.binary or find_server()
        directory = self._directory = self._directory or self._make_directory()
        deadline = time.monotonic() + self.start_timeout
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = 0 if self.unix_socket else self.port or self._free_port()
            process = self._launch(binary, directory, port)
            if self._comes_up(process, directory, port, deadline):
                self.port = port or None
                return self
            process.end(signal.SIGKILL)
            log = (directory / "log").read_text(errors="replace")
            if "in use" not in log or attempt == PORT_ATTEMPTS:
                break
        tail = "\n".join(log.splitlines()[-20:]) or "(it wrote nothing)"
        raise ConfigurationError(f"{binary} does not answer ({self.start_timeout} s); the end of its log:\n{tail}")

    def stop(self) -> None:
        """End the server, gracefully if it does so in time; what it keeps on disk stays for ``start()``."""
        if self.running:
            self._process().end()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        if self.running:
            self._process().end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server if it runs, start it at the same address. Raises ConfigurationError as start()."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Halt it (SIGSTOP): connections stay open, and nothing is answered."""
        self._process().pause()

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._process().send(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        if self._clean_up is not None:
            self._clean_up()
        self._directory = None

    def _process(self) -> KeptProcess:
        if not self.running:
            raise ConfigurationError("the embedded server is not running: call start()")
        return self._launched[-1]

    def _make_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="ctxqueue-"))
        self._clean_up = weakref.finalize(self, _remove, directory, self._launched, os.getpid())
        if self.unix_socket and len(os.fsencode(_socket(directory))) > LONGEST_SOCKET_PATH:
            raise ConfigurationError(f"{directory} is too long for a unix socket: set TMPDIR to a shorter path")
        return directory

    def _launch(self, binary: Path, directory: Path, port: int) -> KeptProcess:
        configuration = directory / "server.conf"
        lines = (f"{name} {value}\n" for name, value in self._directives(directory, port))
        configuration.write_text("".join(lines), encoding="utf-8")
        process = KeptProcess(self._command_line(binary, configuration), directory / "log", cwd=directory)
        self._launched[:] = [process]
        return process

    def _free_port(self) -> int:
        return _free_port()

    def _command_line(self, binary: Path, configuration: Path) -> list[str]:
        return [str(binary), str(configuration)]

    def _directives(self, directory: Path, port: int) -> Iterator[tuple[str, str]]:
        yield "bind", "127.0.0.1"
        yield "port", str(port)
        yield "dir", quoted(str(directory))
        yield "save", '""'
        yield "appendonly", "yes" if self.appendonly else "no"
        yield "maxmemory-policy", "noeviction"
        if self.unix_socket:
            yield "unixsocket", quoted(str(_socket(directory)))
            yield "unixsocketperm", "700"
        if self.password:
            yield "requirepass", quoted(self.password)
        yield from self.config.items()

    def _comes_up(self, process: KeptProcess, directory: Path, port: int, deadline: float) -> bool:
        """Wait until this very process answers: another one may have taken the port before it."""
        while time.monotonic() < deadline:
            if self._who_answers(directory, port) == process.pid:
                return True
            if process.ended.wait(POLL_INTERVAL):
                return False
        return False

    def _who_answers(self, directory: Path, port: int) -> int | None:
        """Return the process id of the server at the address, if it is ready for commands."""
        login = [encoded("AUTH", self.password)] if self.password else []
        question = b"".join([*login, encoded("PING"), encoded("INFO", "server")])
        with contextlib.suppress(OSError), _connection(directory, port) as connection:
            connection.sendall(question)
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
                pid = re.search(rb"\r\nprocess_id:(\d+)\r\n", answer)
                if pid:
                    return int(pid[1]) if b"+PONG\r\n" in answer else None
        return None


def _socket(directory: Path) -> Path:
    return directory / "socket"


def _connection(directory: Path, port: int) -> socket.socket:
    connection = socket.socket(socket.AF_INET if port else socket.AF_UNIX)
    connection.settimeout(ANSWER_TIMEOUT)
    try:
        connection.connect(("127.0.0.1", port) if port else str(_socket(directory)))
    except OSError:
        connection.close()
        raise
    return connection


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def quoted(text: str) -> str:
    """Spell any text as one argument of the server's configuration file."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in os.fsencode(text)) + '"'


def _remove(directory: Path, launched: list[KeptProcess], owner: int) -> None:
    if os.getpid() != owner:  # in a fork, whose exit runs this too
        return
    for process in launched:
        process.end()
    shutil.rmtree(directory, ignore_errors=True)
