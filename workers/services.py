"""The processes of a run, a worker and beat, each with its log in a directory that goes when the run ends."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctxqueue.testing.processes import KeptProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SHUTDOWN_SECONDS = 15.0
LOG_LINES = 15


class ServiceEndedError(RuntimeError):
    """A process that was to run on has ended; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process that is to run as long as its run does."""

    name: str
    process: KeptProcess
    log: Path

    def wait_for_end(self, seconds: float) -> None:
        """Wait that long, but not after its end."""
        self.process.ended.wait(seconds)

    def check(self) -> None:
        """Raise ServiceEndedError if it has ended."""
        if self.process.ended.is_set():
            raise ServiceEndedError(f"{self.name} has ended by itself; {self.end_of_log()}")

    def end_of_log(self) -> str:
        """Return its last lines."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the end of {self.name}'s log:", *lines]) if lines else f"{self.name} logged nothing"


@contextmanager
def services() -> Iterator[tuple[Service, Service]]:
    """Run a worker and beat, with the settings that the environment has now; ends both and removes their logs."""
    directory = Path(tempfile.mkdtemp(prefix="ctxqueue-run-"))
    try:
        with (
            _service(directory, "worker") as worker,
            _service(directory, "beat", f"--schedule={directory / 'schedule'}", "--pidfile=") as beat,
        ):
            yield worker, beat
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _service(directory: Path, name: str, *arguments: str) -> Iterator[Service]:
    log = directory / f"{name}.log"
    process = KeptProcess([sys.executable, "-P", "-m", f"workers.{name}", *arguments], log, cwd=ROOT)
    try:
        yield Service(name, process, log)
    finally:
        process.end(grace=SHUTDOWN_SECONDS)
