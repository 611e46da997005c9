"""Timing of several calls in turn, so that what disturbs one disturbs all alike."""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import statistics
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import redis

REPORTS = Path(__file__).parents[2] / "out" / "benchmarks"


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: the median, and the range that eight in ten lie in."""

    median: float
    low: float
    high: float


def measure(calls: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 50) -> dict[str, Timing]:
    """Make each call once a round, in a new order each time."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls.items())
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up + rounds):
            random.shuffle(order)
            for name, call in order:
                began = time.perf_counter_ns()
                call()
                if number >= warm_up:
                    samples[name].append((time.perf_counter_ns() - began) / 1_000)
    finally:
        gc.enable()
    return {name: _timing(taken) for name, taken in samples.items()}


def _timing(taken: list[float]) -> Timing:
    tenths = statistics.quantiles(taken, n=10)
    return Timing(statistics.median(taken), tenths[0], tenths[-1])


def pin_apart(server_pid: int) -> str:
    """Give client and server a core each, where that is possible; return what was done, for the report."""
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(cores) < 2:
        return "not pinned"
    os.sched_setaffinity(0, {cores[0]})
    for task in Path(f"/proc/{server_pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cores[1]})
    return f"client on core {cores[0]}, server on core {cores[1]}"


def durability(client: redis.Redis) -> str:
    """Say what the server keeps over a crash, which is part of any comparison."""
    info: Any = client.info()
    config: Any = client.config_get("appendfsync")
    kept = f"AOF {config['appendfsync']}" if info["aof_enabled"] else "nothing on disk"
    name = info.get("server_name", "redis")
    number = info.get("valkey_version", info["redis_version"])
    return f"{name} {number}, {kept}"


def table(timings: Mapping[str, Timing], unit: str) -> str:
    """Return the timings as text, with the ratio to the call named ``unit``."""
    lines = [f"{'':<44} {'median us':>10} {'8 in 10 within':>18} {'ratio':>7}"]
    for name, timing in timings.items():
        within = f"{timing.low:.0f} - {timing.high:.0f}"
        lines.append(f"{name:<44} {timing.median:>10.1f} {within:>18} {timing.median / timings[unit].median:>7.2f}")
    return "\n".join(lines)


def write_report(name: str, circumstances: Mapping[str, str], timings: Mapping[str, Timing], unit: str) -> Path:
    """Write all of it as JSON; return where."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{name}.json"
    report = {
        "circumstances": {
            "python": platform.python_version(),
            "redis-py": version("redis"),
            "hiredis": version("hiredis"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            **circumstances,
        },
        "microseconds": {
            each: {"median": timing.median, "low": timing.low, "high": timing.high} for each, timing in timings.items()
        },
        f"ratios to {unit}": {each: timing.median / timings[unit].median for each, timing in timings.items()},
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return path
