"""Counts of processes that come and go: none is lost, no sum falls, and what has ended leaves one file of a kind."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ctxqueue import ConfigurationError
from ctxqueue.observability import metrics
from tests.integration.deployments import ROOT
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from pathlib import Path

FORKS = 12

ENDING = """
import os, signal
from prometheus_client import Gauge
from ctxqueue.observability import metrics, serving

registry = serving.registry()
metrics.shared().begin("default")

busy = Gauge("app_busy", "The app's own, of processes that live", multiprocess_mode="livesum")
TAKEN = (
    ("commits_total", {}),
    ("call_seconds_count", {"call": "put"}),
    ("call_seconds_bucket", {"call": "put", "le": "+Inf"}),
)

def sums():
    labelled = ((f"ctxqueue_{name}", {"namespace": "default"} | labels) for name, labels in TAKEN)
    return [registry.get_sample_value(*sample) or 0.0 for sample in labelled]

def count():
    seen = metrics.Metrics("default")
    busy.set(1)
    for _ in range(3):
        seen._count(metrics.shared().commits)
        with seen.call("put"):
            pass

before = sums()
for n in range(FORKS):
    if (child := os.fork()) == 0:
        count()
        os.kill(os.getpid(), signal.SIGKILL) if n % 2 else os._exit(0)
    os.waitpid(child, 0)
    if n % 5 == 0:
        now = sums()
        assert all(new >= old for new, old in zip(now, before, strict=True)), (before, now)
        before = now
count()
print([*sums(), registry.get_sample_value("app_busy")])
print(sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])), os.getpid())
"""

COUNTING_THREAD = """
import os, threading
from ctxqueue.observability import metrics

seen = metrics.Metrics("default")
ended = threading.Event()

def count():
    while not ended.is_set():
        seen.worked("embed", 0.1)

thread = threading.Thread(target=count)
thread.start()
for _ in range(FORKS):
    if (child := os.fork()) == 0:
        seen.worked("embed", 0.1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
ended.set()
thread.join()
print("went on")
"""


def run(code: str, folder: Path) -> str:
    """Run code in a process whose counts go into a folder; prometheus_client looks for it once, as it is loaded."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    words = [sys.executable, "-W", "ignore:This process", "-c", code.replace("FORKS", str(FORKS))]
    answer = subprocess.run(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True
    )
    return answer.stdout


def test_no_count_of_an_ended_process_is_lost_and_its_files_go(tmp_path: Path) -> None:
    sums, files = run(ENDING, tmp_path).splitlines()
    assert sums == str([*[3.0 * (FORKS + 1)] * 3, 1.0])
    own = files.rpartition(" ")[2]
    names = [f"{kind}_{owner}.db" for kind in ("counter", "histogram") for owner in (own, "ended")]
    assert files == f"{sorted([*names, f'gauge_livesum_{own}.db'])} {own}"


def test_a_process_forked_while_a_thread_counts_can_count(tmp_path: Path) -> None:
    assert run(COUNTING_THREAD, tmp_path) == "went on\n"


def test_a_folder_for_counts_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metrics, "_made", [])
    for folder in ("", str(tmp_path / "nowhere")):  # an empty name would be where the worker happens to stand
        monkeypatch.setenv(metrics.FOLDER, folder)
        with pytest.raises(ConfigurationError, match=f"PROMETHEUS_MULTIPROC_DIR is '{folder}', which is no folder"):
            metrics.shared()
