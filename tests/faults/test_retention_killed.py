"""A run of retention that is killed has lost nothing, and the next one brings it to its end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ctxqueue import VectorMemoryManager
from ctxqueue.memories.archives import read_archive
from tests.faults.test_retention_at_scale import fill
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ROWS, KEPT = 2_000, 100
RETENTION = {"semantic": (1e9, KEPT), "episodic": (1e9, KEPT), "procedural": (1e9, KEPT)}
LONGEST = 200.0
"""Seconds."""

RUN = f"""
import sys
from ctxqueue import VectorMemoryManager
with VectorMemoryManager(sys.argv[1], retention={RETENTION}) as memory:
    print(memory.apply_retention(archive=sys.argv[2]).total)
"""


def archived(folder: Path) -> list[str]:
    return [told["id"] for path in folder.glob("*.jsonl") for told in read_archive(path)]


def run(url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RUN, url, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "store",
    [
        "redis_url",
        *(pytest.param(url, marks=pytest.mark.long) for url in ("cluster_url", "sqlite_url", "postgres_url")),
    ],
)
def test_what_a_killed_run_has_not_removed_the_next_one_does(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(store)
    with VectorMemoryManager(url, retention=RETENTION, embedder=lambda texts: [[1.0] for _ in texts]) as memory:
        fill(memory, ROWS)
        foreseen = memory.apply_retention(dry_run=True).total
        first = run(url, tmp_path)
        wait_until(lambda: len(archived(tmp_path)) >= ROWS // 10, "the run is at work")
        first.kill()
        assert first.wait(LONGEST) < 0, "it was at its end already"
        assert first.communicate()[0] == ""
        at_the_kill = set(archived(tmp_path))
        second = run(url, tmp_path)
        told, _ = second.communicate(timeout=LONGEST)
        assert 0 < int(told) < foreseen
        gone = archived(tmp_path)
        assert len(set(gone)) == foreseen
        assert (
            len(gone) - len(set(gone)) <= len(at_the_kill) - (foreseen - int(told)) <= 25
        )  # one batch, not yet removed
        left = [entry.id for entry in memory.list(limit=1_000)]
        assert not set(left) & set(gone)
        assert memory.apply_retention().total == 0
