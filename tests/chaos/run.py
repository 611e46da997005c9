"""``./dev chaos``: workers and their processes are killed and stopped, while tasks append names to shared lists."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctxqueue import celery_defaults
from ctxqueue.testing import EmbeddedServer
from tests.chaos.faults import Faults
from tests.chaos.judge import Verdict, judge, unfinished
from tests.chaos.settling import STANDSTILL, settle, until_empty
from tests.chaos.work import Expected, Work
from tests.integration.deployments import Deployment

LEASE = 3.0
VISIBILITY_TIMEOUT = 6.0
"""Seconds. Longer than a body, and than a lease: a stopped attempt's message comes back while it stands still."""
MOST_UNDER_WAY = 150
"""Tasks published and not ended, above which no more are published."""
TICK = 0.01
"""Seconds between two looks at what is to be done now."""
FAULT_EVERY = (0.5, 1.7)
"""Seconds between two faults, at least and at most."""


@dataclass
class Outcome:
    """One run's figures."""

    tasks: int
    kinds: Counter[str]
    faults: Faults
    seconds: float
    settled: float
    """Seconds from the last fault until all that could end had ended."""
    verdict: Verdict

    def __str__(self) -> str:
        """Return the report."""
        landed = self.faults.landed
        lines = [
            f"{self.tasks} tasks in {self.seconds:.0f} s: " + _listed(self.kinds),
            f"{self.faults.done.total()} faults: " + _listed(self.faults.done),
            f"{landed.total()} kills landed: {_listed(landed)}; {self.faults.share_that_hurt:.0%} where it hurts",
            f"settled {self.settled:.1f} s after the last fault",
            f"{len(self.verdict.lost_by_the_broker)} messages lost by the broker: its worker was killed as it fetched",
            f"{len(self.verdict.wrong)} things wrong",
        ]
        return "\n".join([*lines, *self.verdict.lost_by_the_broker, *self.verdict.wrong[:100]])


def settings() -> dict[str, Any]:
    """Return the shipped settings, with times short enough for a run of minutes."""
    defaults = celery_defaults()
    options = {
        **defaults["broker_transport_options"],
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "unacked_restore_interval": 1,
    }
    return {
        **defaults,
        "broker_transport_options": options,
        "ctxqueue_lease": LEASE,
        "ctxqueue_sweep_interval": 1.0,
    }


def journaled_server() -> EmbeddedServer:
    """Return a server that keeps all that it is told, so that a lost message can be followed."""
    return EmbeddedServer(appendonly=True, config={"auto-aof-rewrite-percentage": "0", "appendfsync": "no"})


def run(folder: Path, *, seconds: float, tasks: int, seed: int, durable: bool = False) -> Outcome:
    """Give the workers that many tasks over that many seconds, let faults rain, and judge what has come of it."""
    with Deployment("chaos", folder, settings(), journaled_server()) as site:
        faults = Faults(site, random.Random(seed), LEASE, durable)  # noqa: S311 - to be repeated, not to be secret
        work = Work(site, random.Random(seed + 1), durable)  # noqa: S311
        beat = site.beat()
        faults.begin()
        began = time.monotonic()
        try:
            _rain(work, faults, seconds, tasks, seed)
        finally:
            faults.end()
        ended = time.monotonic()
        settle(site, work.expected, faults.go_on)
        site.stop(beat)
        settled = time.monotonic()
        until_empty(site)
        verdict = judge(site, work.expected)
    kinds = Counter(item.kind for item in work.expected)
    return Outcome(len(work.expected), kinds, faults, ended - began, settled - ended, verdict)


def _rain(work: Work, faults: Faults, seconds: float, tasks: int, seed: int) -> None:
    dice = random.Random(seed + 2)  # noqa: S311
    began = now = time.monotonic()
    next_fault = began + FAULT_EVERY[1]
    looked, under_way = 0.0, list[Expected]()
    seen, ended = 0, 0
    moved = began
    # Where no task ends any more none is published either: the judge says which.
    while now < moved + STANDSTILL and (now < began + seconds or len(work.expected) < tasks or work.coming):
        work.put_keys(now)
        faults.go_on(now)
        if now - looked > 0.25:
            under_way = unfinished(work.site, [*under_way, *work.expected[seen:]])
            looked, seen = now, len(work.expected)
            if seen - len(under_way) > ended or not under_way:
                ended, moved = seen - len(under_way), now
        wanted = min(tasks, int(tasks * (now - began) / seconds) + 1)
        while len(work.expected) < wanted and len(under_way) + len(work.expected) - seen < MOST_UNDER_WAY:
            work.publish(time.monotonic())
        if now > next_fault and len(work.expected) < tasks:
            faults.strike(now)
            next_fault = now + dice.uniform(*FAULT_EVERY)
        time.sleep(TICK)  # the pace: nothing is waited for
        now = time.monotonic()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in counts.most_common())


def main() -> int:
    """Run as the command line says, print the report; status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="that the tasks are spread over (default 600)")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311
    parser.add_argument("--durable", action="store_true", help="the store keeps the messages: none may be lost")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ctxqueue-chaos-") as folder:
        outcome = run(Path(folder), seconds=given.seconds, tasks=given.tasks, seed=given.seed, durable=given.durable)
    print(outcome)
    lost = outcome.verdict.lost_by_the_broker if given.durable else []
    return 1 if outcome.verdict.wrong or lost or not outcome.faults.landed else 0


if __name__ == "__main__":
    sys.exit(main())
