"""One key that eight processes update at once: merged in the server, and by our own client path."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import redis

from ctxqueue import connect, register_reducer
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.interleaved import Timing
from tests.benchmarks.report import Line, Report, Section, durability

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from ctxqueue.models import ContextPriority

PROCESSES = 8
EACH = 125
"""Updates of one process in a round: a list that all append to grows to 1,000."""
ROUNDS = 5
PATIENCE = 600
"""Seconds."""


class Work(NamedTuple):
    """What a process does in a round."""

    key: str
    strategy: str
    value: Any


class Kind(NamedTuple):
    """A merge that the server does, and the same as a reducer, which a client must do."""

    strategy: str
    reducer: str
    value: Any


KINDS = (Kind("increment", "increment_here", 1), Kind("append", "append_here", [[7, 1_234_567]]))


def append_here(existing: list[Any], new: list[Any], _priority: ContextPriority) -> list[Any]:
    return existing + new


def increment_here(existing: int, new: int, _priority: ContextPriority) -> int:
    return existing + new


def write(url: str, work: Connection, start: Barrier) -> None:
    """Carry out one round after the other, each together with the other processes."""
    register_reducer("append_here", append_here)
    register_reducer("increment_here", increment_here)
    with connect(url) as manager:
        wf = manager.workflow("hot", agent_id="writer_1")
        while (todo := work.recv()) is not None:
            _ = wf.etag  # connected
            start.wait(PATIENCE)
            for _ in range(EACH):
                wf.update({todo.key: todo.value}, merge_strategy=todo.strategy)
            start.wait(PATIENCE)


class Writers:
    """Eight processes that wait for work."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._start = context.Barrier(PROCESSES + 1)
        self._pipes = []
        self._processes = []
        for _ in range(PROCESSES):
            here, there = context.Pipe()
            process = context.Process(target=write, args=(url, there, self._start), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)

    def took(self, work: Work) -> float:
        """Have all do it at once; return the microseconds that one update took of the whole."""
        for pipe in self._pipes:
            pipe.send(work)
        self._start.wait(PATIENCE)
        began = time.perf_counter_ns()
        self._start.wait(PATIENCE)
        return (time.perf_counter_ns() - began) / 1_000 / (PROCESSES * EACH)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(PATIENCE)


def test_a_hot_key(report: Report) -> None:
    with EmbeddedServer() as server, connect(server.url()) as manager, redis.Redis.from_url(server.url()) as client:
        wf = manager.workflow("hot", agent_id="reader_1")
        wf.open()
        writers = Writers(server.url())
        taken: dict[str, list[float]] = {}
        for number in range(-1, ROUNDS):
            for kind in KINDS:
                for strategy in (kind.strategy, kind.reducer):
                    key = f"{strategy}.{number}"
                    seconds = writers.took(Work(key, strategy, kind.value))
                    if number >= 0:
                        taken.setdefault(strategy, []).append(seconds)
                    held = wf[key]
                    assert (held if isinstance(held, int) else len(held)) == PROCESSES * EACH, "none is lost"
        writers.close()
        timings = {
            ("in the server: " if strategy in (kind.strategy for kind in KINDS) else "in the client: ")
            + strategy: Timing.of(times)
            for strategy, times in taken.items()
        }
        found = {
            "server": durability(client),
            "clients": f"{PROCESSES} processes, TCP, RESP2 with hiredis; {EACH} updates of each in a round",
            "values": "a number; a list that grows to 1,000 items of two numbers (9 bytes each)",
            "pinning": "not pinned",
            "rounds": f"{ROUNDS}, the four kinds in turn",
            "unit": "a round's time by its updates; every round's result is checked, none is lost",
        }
    report.add(
        Section(
            "A hot key",
            found,
            timings,
            tuple(
                Line(
                    f"hot key, 8 processes, `{kind.strategy}`: in the server / our own client path, time per update",
                    timings[f"in the server: {kind.strategy}"].median
                    / timings[f"in the client: {kind.reducer}"].median,
                    1 / 4,
                )
                for kind in KINDS
            ),
        )
    )
