"""An app's memories: over its store, as its settings say, and retired by beat."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from ctxqueue.errors import ConfigurationError
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Deploy


def two_numbers(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


def installed(**settings: Any) -> ctxqueue.ContextQueue:
    app = Celery("memories", set_as_current=False)
    app.conf.update(ctxqueue_backend_url="memory://", **settings)
    return ctxqueue.install(app)


def test_an_apps_memories_are_in_its_store() -> None:
    queue = installed()
    memory_id = queue.memory.remember("Paris is in France")
    assert queue.memory is queue.memory
    assert queue.memory.store is queue.manager.store
    assert ctxqueue.VectorMemoryManager(queue.manager).get(memory_id) is not None

    async def main() -> None:
        found = await queue.aio.memory.recall("France")
        assert [each.memory.id for each in found] == [memory_id]
        assert await queue.aio.memory.reembed(two_numbers) == 1

    asyncio.run(main())
    assert queue.memory.recall("France")[0].memory.model.endswith("two_numbers:2")


def test_settings_say_how() -> None:
    queue = installed(
        ctxqueue_embedder=two_numbers,
        ctxqueue_memory_weights={"recency": 0.0},
        ctxqueue_memory_retention={"episodic": [60.0, 7]},
        ctxqueue_memory_supersede_above=0.9999999,
    )
    entry = queue.memory.get(queue.memory.remember("x"))
    assert entry is not None
    assert entry.model.endswith("two_numbers:2")
    assert queue.memory.retention["episodic"] == ctxqueue.Retention(60.0, 7)
    assert queue.memory.weights == ctxqueue.Weights(recency=0.0)
    named = installed(ctxqueue_embedder="ctxqueue:StaticEmbedder").memory
    assert isinstance(named.embedder, ctxqueue.StaticEmbedder)
    entry = named.get(named.remember("x"))
    assert entry is not None
    assert entry.model == "wordllama-l2-supercat:256"


@pytest.mark.parametrize(
    "settings",
    [
        {"ctxqueue_embedder": "no.such.module:name"},
        {"ctxqueue_embedder": "ctxqueue:NoSuchName"},
        {"ctxqueue_memory_weights": {"unknown": 1}},
        {"ctxqueue_memory_retention": {"imaginary": [1, 1]}},
        {"ctxqueue_memory_retention": {"semantic": [0, 1]}},
        {"ctxqueue_memory_retention": {"semantic": 5}},
        {"ctxqueue_memory_supersede_above": 7},
    ],
    ids=repr,
)
def test_a_setting_that_is_wrong_says_so(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        _ = installed(**settings).memory


def test_the_task_archives_and_removes(tmp_path: Path) -> None:
    queue = installed(ctxqueue_memory_retention={"semantic": [1e-6, 1]}, ctxqueue_memory_archive=str(tmp_path))
    queue.memory.remember_many(["one", "two"])
    task = queue.app.tasks["ctxqueue.memory_retention"]
    task.apply(kwargs={"dry_run": True})
    assert len(queue.memory.list()) == 2
    task.apply()
    assert len(queue.memory.list()) == 0
    (archive,) = tmp_path.iterdir()
    lines = archive.read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["content"] for line in lines} == {"one", "two"}


def test_beat_retires_memories(deploy: Deploy) -> None:
    site = deploy("parking", ctxqueue_retention_interval=0.4, ctxqueue_memory_retention={"semantic": [1e-6, 1]})
    site.worker()
    site.beat()
    with ctxqueue.VectorMemoryManager(site.queue.manager) as memory:
        memory.remember_many(["one", "two"])
        memory.remember("pinned", pinned=True)
        wait_until(lambda: [each.content for each in memory.list()] == ["pinned"], "retention has come by")


def test_whoever_only_reads_by_id_loads_neither_model_nor_numpy() -> None:
    code = (
        "import sys, ctxqueue; m = ctxqueue.VectorMemoryManager(); m.list(); m.apply_retention();"
        " print([name for name in ('numpy', 'tokenizers', 'Stemmer', 'celery') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
