"""The shipped workflow's financial agent: what a changed rate brings about after the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ctxqueue.testing import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """
import json, sys
from decimal import Decimal
from pathlib import Path
from tests.waiting import wait_until
from workers import consolidate, entries
from workers.app import ctx
from workers.financial_agent import QUIET_SECONDS
from workers.services import services

source, output = Path("workers/sample/revenue.csv").resolve(), Path(sys.argv[1])
with services():
    parts = consolidate.plan(source)
    for step in consolidate.start("w", source, output, parts):
        step.result.get(timeout=120)
    consolidate.keep_true("w").get(timeout=60)
    wf = ctx.workflow("w")
    feed = ctx.workflow("w", agent_id="rates_feed")
    first = {part.index: feed[entries.rates(part.index)] for part in parts}

    def moved(part, factor):
        return {
            currency: {day: [of[0], str(Decimal(of[1]) * Decimal(factor))] for day, of in days.items() if of}
            for currency, days in first[part].items() if days
        }

    def versions():
        return [wf.get(entries.SUMMARY).version, wf.get(entries.OUTPUT).version]

    def told_of_the_newest():
        notices, newest = probe.notifications(), feed.get(entries.rates(0))
        return bool(notices) and notices[0].revision == newest.revision

    def up_to_date():
        used = wf.get(entries.rates_used(0))
        return used.value == feed[entries.rates(0)] and wf.get(entries.OUTPUT).revision > used.revision

    # It waits for quiet as the agent's subscription does, and is told of all: when it was, the other has been judged.
    probe = ctx.workflow("w", agent_id="probe_1")
    probe.subscribe(entries.ALL_RATES, ctx.app.signature("ctxqueue.cleanup_sweep"), debounce=QUIET_SECONDS)
    before, seen = (output / "report.md").read_bytes(), {"report": versions()}
    feed.put(entries.rates(0), moved(0, "1.005"))
    wait_until(told_of_the_newest, "half a percent was noticed", 60)
    for hundredth in range(101, 201):
        feed.put(entries.rates(0), moved(0, f"1.{hundredth}"))
    wait_until(up_to_date, "it was calculated and reported anew", 60)
    seen["half a percent, and a hundred changes"] = versions()
    seen["another report"] = before != (output / "report.md").read_bytes()
    feed.put(entries.rates(0), moved(0, "1.205"))
    wait_until(told_of_the_newest, "half a percent more was noticed", 60)
    feed.put(entries.rates(0), moved(0, "1.25"))
    wait_until(up_to_date, "it was calculated and reported once more", 60)
    seen["half a percent more, and four"] = versions()
print(json.dumps(seen))
"""


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


def test_a_rate_that_moves_by_more_than_one_percent_has_all_calculated_and_reported_once_more(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "CTXQUEUE_BACKEND_URL": server.url(),
        "CELERY_BROKER_URL": server.url(),
        "CELERY_RESULT_BACKEND": server.url(),
        "CTXQUEUE_SWEEP_INTERVAL": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "report": [1, 1],
        "half a percent, and a hundred changes": [2, 2],
        "another report": True,
        "half a percent more, and four": [3, 3],
    }
