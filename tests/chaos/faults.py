"""Kills and stops workers and their pool processes, and counts where each kill landed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.apps.chaos import COMMITTED, ENDED, IN_BODY, PLACES
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from ctxqueue.testing.processes import KeptProcess
    from tests.integration.deployments import Deployment

WHILE_IT_RAN, BEFORE_ITS_ACK = "while a body ran", "between commit and ack"
ELSEWHERE = "elsewhere"

WORKERS, SLOTS = 3, 2
MIX = {
    "kill a pool process": 12,
    "stop a pool process": 4,
    "kill a worker": 2,
    "kill its parent only": 1,
    "stop a worker": 2,
}
STOPS = (1.3, 2.5)
"""Leases that a stopped process stands still for, at least and at most."""
KILLED_IN_ITS_STOP = 0.3
"""How many of the stopped pool processes never wake up."""


@dataclass
class Faults:
    """The workers, and what is done to them."""

    site: Deployment
    random: random.Random
    lease: float
    durable: bool = False
    """Whether what is lost with a stopped worker comes again."""
    landed: Counter[str] = field(default_factory=Counter)
    """Kills by where they landed."""
    done: Counter[str] = field(default_factory=Counter)
    workers: list[KeptProcess] = field(default_factory=list)
    _gone: list[KeptProcess] = field(default_factory=list)
    _stopped: list[tuple[float, tuple[int, ...], bool]] = field(default_factory=list)
    """When to go on, which processes, and whether they are killed then."""

    def begin(self) -> None:
        """Start the workers."""
        self.workers = [self.site.worker(slots=SLOTS) for _ in range(WORKERS)]

    def strike(self, now: float, kind: str = "") -> None:
        """Do one thing to somebody, of that kind or of any."""
        kind = kind or self.random.choices(list(MIX), weights=list(MIX.values()))[0]
        worker = self.random.choice(self.workers)
        children = _children(worker.pid)
        if not children or self._is_stopped((worker.pid, *children)):
            return
        # Half of them at random, half where it hurts most.
        aimed = [child for child in children if self._place(child) in (IN_BODY, COMMITTED)]
        child = self.random.choice(aimed or children)
        self.done[kind] += 1
        pause = now + self.lease * self.random.uniform(*STOPS)
        if kind == "kill a pool process":
            self._kill_child(child)
        elif kind == "stop a pool process":
            os.kill(child, signal.SIGSTOP)
            self._stopped.append((pause, (child,), self.random.random() < KILLED_IN_ITS_STOP))
        elif kind == "stop a worker":
            group = (worker.pid, *children) if self.random.random() < 0.5 else (worker.pid,)
            for pid in group:
                _signal(pid, signal.SIGSTOP)
            # What the broker hands it meanwhile is in no list, a limit of kombu: it is lost if the worker is killed.
            self._stopped.append((pause, group, self.durable and self.random.random() < KILLED_IN_ITS_STOP))
        else:
            self._kill_worker(worker, children, whole=kind == "kill a worker")

    def go_on(self, now: float) -> None:
        """Wake up, or kill, whoever was stopped for long enough; start a worker in the place of each that has ended."""
        for item in [item for item in self._stopped if item[0] <= now]:
            self._stopped.remove(item)
            _, pids, fatal = item
            stopped = [worker for worker in self.workers if worker.pid in pids]
            if fatal and stopped:
                self.done["kill a stopped worker"] += 1
                self._kill_worker(stopped[0], _children(stopped[0].pid), whole=True)
            elif fatal:
                self.done["kill a stopped pool process"] += 1
                self._kill_child(pids[0])
            else:
                for pid in pids:
                    _signal(pid, signal.SIGCONT)

        for worker in [worker for worker in self.workers if worker.ended.is_set()]:
            # Celery gives up a worker that loses a process of its pool while it starts.
            self.done["a worker ended by itself"] += 1
            self._replace(worker)

    def end(self) -> None:
        """Wake up everybody, and clear away what killed parents have left."""
        self.go_on(float("inf"))
        for worker in self._gone:
            worker.end()

    @property
    def share_that_hurt(self) -> float:
        """Return which part of the kills landed while a body ran, or between commit and ack."""
        hurt = self.landed[WHILE_IT_RAN] + self.landed[BEFORE_ITS_ACK]
        return hurt / max(1, self.landed.total())

    def _is_stopped(self, pids: Iterable[int]) -> bool:
        return any(pid in pids for _, stopped, _ in self._stopped for pid in stopped)

    def _kill_child(self, pid: int) -> None:
        _signal(pid, signal.SIGKILL)
        wait_until(lambda: _is_dead(pid), f"{pid} is dead")
        self._count([pid])

    def _kill_worker(self, worker: KeptProcess, children: list[int], *, whole: bool) -> None:
        if whole:
            worker.send(signal.SIGKILL)
        else:
            os.kill(worker.pid, signal.SIGKILL)
        assert worker.ended.wait(SECONDS), "a killed worker does not end"
        if whole:
            wait_until(lambda: all(map(_is_dead, children)), "its pool processes are dead")
        self._count(children)
        self._replace(worker)

    def _replace(self, worker: KeptProcess) -> None:
        self._gone.append(worker)
        self.workers[self.workers.index(worker)] = self.site.starting_worker(slots=SLOTS)[1]

    def _count(self, pids: list[int]) -> None:
        """Count one kill, by the process that it hurt most."""
        places = {self._landing(pid) for pid in pids}
        self.landed[
            next(place for place in (WHILE_IT_RAN, BEFORE_ITS_ACK, ELSEWHERE) if place in {*places, ELSEWHERE})
        ] += 1

    def _landing(self, pid: int) -> str:
        place, _, tag = self._said(pid).partition("|")
        if place == IN_BODY:
            return WHILE_IT_RAN
        if place in (COMMITTED, ENDED) and self.site.redis.hexists("unacked", tag):
            return BEFORE_ITS_ACK
        return ELSEWHERE

    def _place(self, pid: int) -> str:
        return self._said(pid).partition("|")[0]

    def _said(self, pid: int) -> str:
        said: Any = self.site.redis.hget(PLACES, str(pid))
        return (said or b"").decode()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [
            int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
        ]
    return []


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
