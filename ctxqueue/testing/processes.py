"""A child process that does not outlive this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

GRACE: Final = 5.0
"""Seconds that a process has to end after a signal, before SIGKILL."""

POLL_INTERVAL: Final = 0.005
"""Seconds."""

_FOR_THE_GROUP: Final = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT})

# Replaces itself by the command, which so has the process id that Popen knows, after asking the kernel for a
# SIGKILL at the end of its parent (PR_SET_PDEATHSIG is 1). Not preexec_fn: it may deadlock beside threads.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent ended before this process began")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class KeptProcess:
    """A running command in its own session, and the thread that started it and waits for its end.

    On Linux it is killed when this process ends, however that ends. The kernel goes by the parent's *thread*
    there, so the one that forks stays until the child is gone. A process forked from this one is not the
    parent, and its calls do nothing.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start the command, its output in the file ``log``. Raises ConfigurationError if it cannot."""
        self.ended = threading.Event()
        self._owner = os.getpid()
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(self._owner), *command]
        started: Future[int] = Future()
        keeper = threading.Thread(target=self._keep, args=(command, log, cwd, env, started), daemon=True)
        try:
            keeper.start()
            self.pid = started.result()
        except OSError as error:
            raise ConfigurationError(f"cannot start {command[-1]}: {error}") from error
        except BaseException:  # Ctrl-C, say: nobody will have this object to end the child by
            self.pid = started.result(GRACE)
            self.end(signal.SIGKILL)
            raise

    def send(self, signal_number: int) -> None:
        """Send a signal to the command, SIGKILL, SIGSTOP and SIGCONT to its children too.

        Nothing happens if it has ended.
        """
        if os.getpid() == self._owner and not self.ended.is_set():
            send = os.killpg if signal_number in _FOR_THE_GROUP else os.kill
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, signal_number)

    def pause(self) -> None:
        """Stop it (SIGSTOP) and, on Linux, return when it stands still."""
        self.send(signal.SIGSTOP)
        if sys.platform == "linux":
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def end(self, signal_number: int = signal.SIGTERM, grace: float = GRACE) -> None:
        """Send the signal, wait up to ``grace`` seconds, then send SIGKILL; returns when it and its children ended."""
        if os.getpid() != self._owner:
            return
        self.send(signal_number)
        self.send(signal.SIGCONT)  # a stopped process acts on no other signal
        if not self.ended.wait(grace):
            self.send(signal.SIGKILL)
            self.ended.wait(grace)
        self._end_children(grace)

    def _end_children(self, grace: float) -> None:
        """Kill what the command left in its session: the pool of a worker that was ended as it started, say."""
        deadline = time.monotonic() + grace
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.pid, signal.SIGKILL)
                time.sleep(POLL_INTERVAL)

    def _keep(
        self,
        command: Sequence[str],
        log: Path,
        cwd: Path | None,
        env: Mapping[str, str] | None,
        started: Future[int],
    ) -> None:
        try:
            with log.open("wb") as output:
                child = subprocess.Popen(  # noqa: S603 - the caller chose it
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=env,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            started.set_exception(error)
            return
        started.set_result(child.pid)
        child.wait()
        self.ended.set()
