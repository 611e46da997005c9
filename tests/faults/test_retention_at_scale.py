"""Retention of very many memories: what it foresees it removes, cut off or not, and no call holds the server long."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import pytest

from ctxqueue import VectorMemoryManager
from ctxqueue import effects as fx
from ctxqueue.flows import retiring
from ctxqueue.remembered import ROW_VERSION, Body, Owner, Reader, Said, pack_body
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.watched import Watched

OWNER: Owner = Reader(None, None).owner(None)
KINDS: tuple[fx.MemoryKind, ...] = ("semantic", "episodic", "procedural")
ROWS_A_CALL = 50
MOST = 50.0
"""Times the server time of one ``remember``."""


def fill(memory: VectorMemoryManager, rows: int) -> None:
    """Store so many: six tenths facts, three tenths episodes, one tenth skills that have expired; some are pinned."""
    memory.driver.run(memory.memory_terms.registered(OWNER))
    for first in range(0, rows, ROWS_A_CALL):
        batch = []
        for number in range(first, first + ROWS_A_CALL):
            kind = KINDS[0 if number % 10 < 6 else 1 if number % 10 < 9 else 2]
            body = Body(ROW_VERSION, OWNER.name, Said(f"memory {number} " + 90 * "x"), 0.5, "m:1", bytes(100))
            expiring = 1 if kind == "procedural" else None
            name = f"{OWNER.digest}-{number:032x}"
            batch.append(fx.NewMemory(name, kind, pack_body(body), number % 100 == 0, expiring))
        memory.store.perform(fx.StoreMemories(OWNER.digest, "i", tuple(batch), "m:1"))


@pytest.mark.parametrize("rows", [6_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(3_000)])])
def test_dry_run_and_runs_agree_and_no_call_is_long(
    rows: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("no /proc/self/schedstat: the kernel does not tell what a thread has used")
    hundredth = rows // 100
    retention = {"semantic": (1e9, hundredth), "episodic": (1e-6, 1), "procedural": (1e9, rows)}
    with EmbeddedServer() as server:
        watched = Watched(server, monkeypatch)
        with VectorMemoryManager(server.url(), embedder=lambda texts: [[1.0] for _ in texts]) as memory:
            one = statistics.median(
                max(watched.calls(lambda text=text: memory.remember(text, user_id="me", pinned=True)))[0]  # type: ignore[misc]
                for text in (f"one of mine {number}" for number in range(100))
            )
            fill(memory, rows)
        with VectorMemoryManager(server.url(), retention=retention) as memory:
            reports = []
            calls = watched.calls(lambda: reports.append(memory.apply_retention(dry_run=True)))
            looked = len(calls)
            assert reports[0].removed == {
                "semantic": {"expired": 0, "aged": 0, "surplus": 58 * hundredth},  # a hundredth stays, one is pinned
                "episodic": {"expired": 0, "aged": 30 * hundredth, "surplus": 0},
                "procedural": {"expired": 10 * hundredth, "aged": 0, "surplus": 0},
            }
            flow = retiring.retire(retiring.Retiring(memory.retention, rows, None), dry_run=False)
            effect = next(flow)
            cut_off = 0
            for _ in range(rows // 100):
                reply = memory.store.perform(effect)
                cut_off += reply if isinstance(effect, fx.DropMemories) else 0
                effect = flow.send(reply)
            flow.close()
            assert 0 < cut_off < rows // 2
            begun = time.process_time()
            while not reports[-1].complete or reports[-1].dry_run:
                calls += watched.calls(lambda: reports.append(memory.apply_retention(limit=max(1_000, rows // 10))))
            assert cut_off + sum(report.total for report in reports[1:]) == reports[0].total
            assert len(memory.list(scope="global", limit=1_000)) == min(1_000, 2 * hundredth)
            assert memory.apply_retention().total == 0
    slowest = max(calls)
    batches = [micros for micros, name in calls if name == "drop_memories"]
    with capsys.disabled():
        sys.stderr.write(
            f"\n{rows} rows: remember {one:.0f} us; {len(calls)} calls, {looked} of them foresaw; the longest was"
            f" {slowest[1]}, {slowest[0] / one:.1f} times that; a batch {statistics.median(batches) / one:.1f} times;"
            f" {time.process_time() - begun:.0f} s of the client's processor\n"
        )
    assert slowest[0] < MOST * one
