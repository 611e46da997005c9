"""The first line of each command is there within a second, also of a large workflow; start-up and imports included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING

from ctxqueue.context import SharedContextManager
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.contents import filled
from tests.benchmarks.report import Line, Report, Section
from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle

ENTRIES = 10_000
LOG_RECORDS = 100_000
WRITERS = 8
ROUNDS = 5
SECOND = 1.0
COMMANDS = ("show w9900", "show w9900 --json", "changes w9900", "stats w9900", "get w9900 k000001", "workflows")


def log_much(wf: WorkflowHandle) -> None:
    def write(writer: int) -> None:
        for number in range(LOG_RECORDS // WRITERS):
            wf.put(f"hot{writer}", number)

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(write, range(WRITERS)))


def first_line(url: str, command: str) -> float:
    """Return the seconds until it is there."""
    settings = {"sample_url": None, "broker_url": "memory://", "result_backend": "disabled://"}
    environment = {
        **os.environ,
        "SAMPLE_APP": "tests.integration.apps.parking",
        "SAMPLE_SETTINGS": json.dumps({**settings, "ctxqueue_backend_url": url}),
    }
    words = [sys.executable, "-m", "celery", "-A", "tests.integration.apps.entry", "ctx", *command.split()]
    begun = time.perf_counter()
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        seconds = time.perf_counter() - begun
        for _ in running.stdout:
            pass
    return seconds


def test_the_first_line_is_there_within_a_second(report: Report) -> None:
    with (
        EmbeddedServer() as server,
        SharedContextManager(server.url(), {"log_limit": LOG_RECORDS}) as manager,
    ):
        log_much(filled(manager, ENTRIES - 100))
        held = manager.summary("w9900")
        assert LOG_RECORDS <= held.log_records <= 1.1 * LOG_RECORDS  # it is trimmed by a tenth at a time
        found = {command: median(first_line(server.url(), command) for _ in range(ROUNDS)) for command in COMMANDS}
    circumstances = {"workflow": f"{held.entries:,} entries, {held.log_records:,} log records", "rounds": f"{ROUNDS}"}
    lines = tuple(
        Line(f"seconds until the first line of `ctx {command}`", seconds, SECOND) for command, seconds in found.items()
    )
    report.add(Section("The first line on the terminal", circumstances, {}, lines))
