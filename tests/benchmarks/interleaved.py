"""Timing of several calls in turn, so that what disturbs one disturbs all alike."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: the median, and the range that eight in ten lie in."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, taken: Sequence[float]) -> Timing:
        """Return the timing of some samples."""
        tenths = statistics.quantiles(taken, n=10, method="inclusive")
        return cls(statistics.median(taken), tenths[0], tenths[-1])


class Prepared(NamedTuple):
    """A call that something must happen before, each time; only the call is timed."""

    before: Callable[[], object]
    call: Callable[[], object]


def measure(
    calls: Mapping[str, Callable[[], object] | Prepared], *, rounds: int, warm_up: int = 50
) -> dict[str, Timing]:
    """Make each call once a round, in a new order each time."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = [(name, call if isinstance(call, Prepared) else Prepared(_nothing, call)) for name, call in calls.items()]
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up + rounds):
            random.shuffle(order)
            for name, (before, call) in order:
                before()
                began = time.perf_counter_ns()
                call()
                if number >= warm_up:
                    samples[name].append((time.perf_counter_ns() - began) / 1_000)
    finally:
        gc.enable()
    return {name: Timing.of(taken) for name, taken in samples.items()}


def _nothing() -> None:
    pass


@contextlib.contextmanager
def pinned_apart(*server_pids: int) -> Iterator[str]:
    """Give client and servers a core each, where that is possible; yield what was done, for the report."""
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(cores) < 2:
        yield "not pinned"
        return
    os.sched_setaffinity(0, {cores[0]})
    try:
        for pid in server_pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {cores[1]})
        yield f"client on core {cores[0]}, server on core {cores[1]}"
    finally:
        os.sched_setaffinity(0, set(cores))
