"""The processes of a run, a worker, beat and Flower, each with its log in a directory that goes when the run ends."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
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
def services(*, flower_port: int | None = None) -> Iterator[tuple[Service, ...]]:
    """Run a worker and beat, and Flower if it gets a port, with the settings that the environment has now.

    Ends them all and removes their logs.
    """
    directory = Path(tempfile.mkdtemp(prefix="ctxqueue-run-"))
    wanted: list[tuple[str, tuple[str, ...]]] = [
        ("worker", ()),
        ("beat", (f"--schedule={directory / 'schedule'}", "--pidfile=")),
    ]
    if flower_port is not None:
        wanted.append(("flower", (f"--port={flower_port}",)))
    try:
        with ExitStack() as stack:
            yield tuple(stack.enter_context(_service(directory, name, *arguments)) for name, arguments in wanted)
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
