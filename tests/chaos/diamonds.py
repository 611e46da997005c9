"""``./dev diamonds``: tasks that need each other's keys arrive in any order, while workers are killed and stopped."""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import create_engine, func, select

from ctxqueue.stores.sql import migrate
from ctxqueue.stores.sql.schema import due, parked, ready
from ctxqueue.testing import EmbeddedPostgres
from tests.chaos.faults import Faults
from tests.chaos.judge import NOTHING, still_held, unfinished
from tests.chaos.run import FAULT_EVERY, LEASE, TICK, settings
from tests.chaos.settling import STANDSTILL, until_empty
from tests.chaos.work import Expected
from tests.integration.apps.diamonds import NEEDS
from tests.integration.deployments import Deployment
from tests.waiting import seen_within

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle

VALUES = {"seed": 1, "a": 2, "b": 3, "c": 3, "d": 3, "e": 10, "f": 11}
"""What each key must hold: one more than the sum of what its task needs."""
MOST_OPEN = 30
"""Diamonds begun and not ended, above which none is begun."""
SPREAD = 3.0
"""Seconds within which a diamond's tasks and its first key arrive, each at random."""
LONGEST_BODY = 0.1
LONGEST = 1_500.0


@dataclass
class Outcome:
    """One run's figures."""

    count: int
    faults: Faults
    seconds: float
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the report."""
        done = ", ".join(f"{count} x {what}" for what, count in self.faults.done.most_common())
        return "\n".join(
            [
                f"{self.count} diamonds of {len(NEEDS)} tasks in {self.seconds:.0f} s; {done}",
                f"{self.faults.landed.total()} kills; {self.faults.share_that_hurt:.0%} where it hurts",
                f"{len(self.wrong)} things wrong",
                *self.wrong[:100],
            ]
        )


class Arrival(NamedTuple):
    """A task, or the first key, and when it comes."""

    when: float
    number: int
    name: str


class Diamonds:
    """Begins diamonds and remembers their tasks."""

    def __init__(self, site: Deployment, dice: random.Random) -> None:
        self.site = site
        self.dice = dice
        self.workflows: list[WorkflowHandle] = []
        self.expected: list[Expected] = []
        self.left: list[Expected] = []
        self._coming: list[Arrival] = []

    @property
    def open(self) -> int:
        """How many have tasks that have not ended, or not come yet."""
        coming = {self.workflows[arrival.number].workflow_id for arrival in self._coming}
        return len(coming | {item.workflow_id for item in self.left})

    @property
    def are_over(self) -> bool:
        """Whether all that were begun have ended."""
        return not (self._coming or self.left)

    def begin(self, now: float) -> None:
        """Let one more arrive from now on."""
        number = len(self.workflows)
        self.workflows.append(self.site.workflow("diamond"))
        for name in ("seed", *NEEDS):
            heapq.heappush(self._coming, Arrival(now + self.dice.uniform(0.0, SPREAD), number, name))

    def arrive(self, now: float) -> None:
        """Publish the tasks and put the keys that are due."""
        while self._coming and self._coming[0].when <= now:
            _, number, name = heapq.heappop(self._coming)
            workflow = self.workflows[number]
            if name == "seed":
                workflow.put("seed", VALUES["seed"])
                continue
            with workflow:
                result = self.site.task(f"corner_{name}").delay(self.dice.uniform(0.0, LONGEST_BODY))
            item = Expected(result.id, name, "corner", workflow.workflow_id, None)
            self.expected.append(item)
            self.left.append(item)

    def look(self) -> None:
        """Read who has ended."""
        self.left = unfinished(self.site, self.left)


def run(folder: Path, *, count: int, seed: int, url: str = "", kills: int = 0) -> Outcome:
    """Let that many diamonds arrive, the context at ``url``, or else where the broker is, and judge what came of them.

    Faults of all kinds rain to the end; or, where ``kills`` is given, so many workers are killed and that is all.
    """
    store = {"ctxqueue_backend_url": url} if url else {}
    with Deployment("diamonds", folder, {**settings(), **store}) as site:
        faults = Faults(site, random.Random(seed), LEASE, durable=True)  # noqa: S311 - to be repeated, not secret
        diamonds = Diamonds(site, random.Random(seed + 1))  # noqa: S311
        site.beat()
        faults.begin()
        began = time.monotonic()
        try:
            _rain(diamonds, faults, count, kills)
        finally:
            faults.end()
        _settle(diamonds, url, faults)
        seconds = time.monotonic() - began
        until_empty(site)
        return Outcome(count, faults, seconds, _judge(diamonds, url))


def _rain(diamonds: Diamonds, faults: Faults, count: int, kills: int) -> None:
    now = time.monotonic()
    end, next_fault, looked = now + LONGEST, now + FAULT_EVERY[1], 0.0
    while now < end and not (len(diamonds.workflows) == count and diamonds.are_over):
        diamonds.arrive(now)
        faults.go_on(now)
        if now - looked > 0.25:
            diamonds.look()
            looked = now
            while len(diamonds.workflows) < count and diamonds.open < MOST_OPEN:
                diamonds.begin(now)
        begun = len(diamonds.expected)
        if kills and faults.landed.total() < kills and begun > (faults.landed.total() + 1) * count * 6 // (kills + 1):
            faults.strike(now, "kill a worker")
        elif not kills and now > next_fault:
            faults.strike(now)
            next_fault = now + faults.random.uniform(*FAULT_EVERY)
        time.sleep(TICK)  # the pace: nothing is waited for
        now = time.monotonic()


def _settle(diamonds: Diamonds, url: str, faults: Faults) -> None:
    def is_over() -> bool:
        faults.go_on(time.monotonic())
        diamonds.look()
        return not diamonds.left and not _held(diamonds.site, url)

    seen_within(is_over, STANDSTILL, 0.25)


def _held(site: Deployment, url: str) -> dict[str, int]:
    """Return what the store holds that is on its way."""
    if not url:
        return still_held(site)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        counts = {
            "parked": connection.scalar(select(func.count()).select_from(parked)),
            "outbox": connection.scalar(select(func.count()).select_from(ready)),
            "standbys": connection.scalar(select(func.count()).select_from(due).where(due.c.kind == "standby")),
        }
    engine.dispose()
    return {what: count for what, count in counts.items() if count}


def _judge(diamonds: Diamonds, url: str) -> list[str]:
    site = diamonds.site
    wrong = [f"{item.name} of {item.workflow_id} [{item.task_id}] has not ended" for item in diamonds.left]
    for item in diamonds.expected:
        result = site.app.AsyncResult(item.task_id)
        if result.state != "SUCCESS" or result.result != VALUES[item.name]:
            wrong.append(
                f"{item.name} of {item.workflow_id} [{item.task_id}] is {result.state}: {result.result!r:.300}"
            )
    for workflow in diamonds.workflows:
        wrong += (f"{workflow.workflow_id}: {objection}" for objection in _objections(workflow))
    wrong += (f"{count} {what} are left in the store" for what, count in _held(site, url).items())
    if (queued := site.queued()) != NOTHING:
        wrong.append(f"the broker holds {queued}")
    return wrong


def _objections(workflow: WorkflowHandle) -> list[str]:
    """Say what is there more than once, not at all, or before what it needs."""
    found: dict[str, Any] = {entry.key: entry for entry in workflow.list().items}
    values = {name: entry.value for name, entry in found.items() if name != "ran"}
    ran = found["ran"].value if "ran" in found else []
    wrong = [] if values == VALUES else [f"its keys are {values}"]
    wrong += (f"{name} is of version {found[name].version}" for name in values if found[name].version != 1)
    if sorted(ran) != sorted(NEEDS):
        wrong.append(f"ran: {ran}")
    firsts = {name: ran.index(name) for name in set(ran)}
    for name, needs in NEEDS.items():
        wrong += (f"{name} ran before {key}" for key in needs if firsts.get(name, 99) < firsts.get(key, -1))
    return wrong


def main() -> int:
    """Run as the command line says, print the report; status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="./dev diamonds", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--store", choices=("redis", "postgres"), default="redis", help="that holds the context")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ctxqueue-diamonds-"))
        url = ""
        if given.store == "postgres":
            url = stack.enter_context(EmbeddedPostgres()).url()
            migrate(url)
        outcome = run(Path(folder), count=given.count, seed=given.seed, url=url)
    print(outcome)
    return 1 if outcome.wrong or not outcome.faults.landed else 0


if __name__ == "__main__":
    sys.exit(main())
