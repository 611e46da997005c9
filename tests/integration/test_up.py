"""``./dev up``: a server, a worker, beat and Flower in one terminal, which shows how tasks wait and go on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.marks import Mark
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

PUBLISH = """
import sys
from workers.app import ctx
from workers.report_generator import write
wf = ctx.workflow("w", agent_id="tester")
wf.open()
with wf:
    print(write.delay(sys.argv[1]).id)
"""
RELEASE = """
from workers.app import ctx
ctx.workflow("w", agent_id="financial_calculator").put("calculation_results", {"not": "a summary"})
"""


class Up:
    """One run of the command; whatever it starts can be told by a mark in its environment."""

    def __init__(self, log: Path, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        self.mark = Mark()
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.up", f"--port={self.port}", *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.mark.environment},
            )

    def said(self) -> str:
        return self.log.read_text()

    def store(self) -> str:
        (line,) = [line for line in self.said().splitlines() if line.startswith("store, broker, results:")]
        return line.split()[-1]

    def flower(self, path: str) -> str:
        """An answer of Flower's; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=SECONDS) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def states(self) -> dict[str, str]:
        """Each task's state by its name, as Flower has it."""
        tasks = json.loads(self.flower("api/tasks?limit=1000") or "{}")
        return {task["name"]: task["state"] for task in tasks.values()}

    def script(self, code: str, *arguments: str) -> str:
        """Run some code of the other terminal."""
        environment = {**os.environ, "CTXQUEUE_BACKEND_URL": self.store()}
        command = [sys.executable, "-c", code, *arguments]
        told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return told.stdout.strip()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Any]:
    runs: list[Up] = []

    def start(*arguments: str) -> Up:
        runs.append(Up(tmp_path / f"{len(runs)}.log", *arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


def test_flower_shows_our_tasks_by_name_and_how_they_wait_and_go_on(up: Any, tmp_path: Path) -> None:
    run = up("--job")
    wait_until(lambda: run.flower("healthcheck"), "Flower answers")
    assert f"http://127.0.0.1:{run.port}" in run.said()
    task_id = run.script(PUBLISH, str(tmp_path))
    wait_until(lambda: "WAITING" in run.flower(f"task/{task_id}"), "Flower's page shows that it waits")
    ours = {"ctxqueue.cleanup_sweep", "ctxqueue.dependency_callbacks", "financial_calculator.calculate"}
    wait_until(lambda: ours <= set(run.states()), "the others are there by their names")
    wait_until(lambda: run.states()["ctxqueue.cleanup_sweep"] == "SUCCESS", "beat's sweep has run")
    run.script(RELEASE)
    wait_until(lambda: "FAILURE" in run.flower(f"task/{task_id}"), "it has gone on, to its end")
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(SECONDS) == 130
    assert run.mark.processes() == {}
    assert "worker |" in run.said()
    assert run.said().endswith("stopped; everything that was started here has been ended\n")


def test_a_process_that_ends_by_itself_ends_all(up: Any) -> None:
    run = up()
    wait_until(lambda: run.flower("healthcheck"), "Flower answers")
    (beat,) = (number for number, command in run.mark.processes().items() if "-m\0workers.beat" in command)
    os.kill(beat, signal.SIGKILL)
    assert run.process.wait(SECONDS) == 1
    assert "error: beat has ended by itself" in run.said()
    wait_until(lambda: run.mark.processes() == {}, "nothing is left")


@pytest.mark.parametrize("arguments", [("--redis-url", "redis://127.0.0.1:1/0"), ("--redis-url", "http://nobody")])
def test_a_server_that_cannot_be_used_is_refused_in_one_line(up: Any, arguments: tuple[str, ...]) -> None:
    run = up(*arguments)
    assert run.process.wait(SECONDS) == 2
    assert run.said().count("\n") == 1
    assert run.said().startswith("error: ")


def test_a_port_that_is_taken_is_refused_by_name(up: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = up("--port", str(taken.getsockname()[1]))
        assert run.process.wait(SECONDS) == 2
    assert "name another one with --port" in run.said()
