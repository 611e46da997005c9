"""An app with a keyring: the blocking and the awaited face share it, and the command line rotates its keys."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from ctxqueue import effects as fx
from ctxqueue.errors import ConfigurationError, DecryptionError
from ctxqueue.keyring import Keyring
from ctxqueue.memories.archives import read_archive
from tests.integration.commands import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue

CANARY = "canary-4711"
OLD, NEW = {"old": b"o" * 32}, {"old": b"o" * 32, "new": b"n" * 32}


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4()}"


def installed(url: str, keyring: Any) -> ContextQueue:
    app = Celery("sealed", broker="memory://", backend="disabled://", set_as_current=False)
    app.conf.update(ctxqueue_backend_url=url, ctxqueue_keyring=keyring)
    return ctxqueue.install(app)


@pytest.fixture
def queue(url: str) -> Iterator[ContextQueue]:
    queue = installed(url, {"keys": OLD, "encrypt": "all"})
    queue.workflow("q3").open({"owner": CANARY})
    yield queue
    queue.manager.close()


def test_both_faces_of_an_app_read_what_the_other_wrote(queue: ContextQueue) -> None:
    queue.workflow("q3", agent_id="a").put("k", CANARY)
    handle = queue.aio.workflow("q3", agent_id="a")

    async def main() -> None:
        assert await handle["k"] == CANARY
        await handle.update({"l": [CANARY]}, merge_strategy="append")
        assert (await queue.aio.rotate_keys()).values == 0

    asyncio.run(main())
    assert queue.workflow("q3", agent_id="a")["l"] == [CANARY]


def test_a_stored_update_and_its_message_are_no_text_in_the_store(queue: ContextQueue) -> None:
    pending = queue.enqueue_update("q3", "a", {"k": CANARY}, coalesce=True)
    sealed: Any = queue.manager.store
    drawn = sealed.inner.perform(fx.Draw("q3", b"drain", 10, 5, 1_000))
    assert len(drawn.updates) == 1
    assert CANARY not in repr(drawn)
    sealed.inner.perform(fx.LetGo("q3", b"drain"))
    assert pending.state == "PENDING"
    queue.app.tasks["ctxqueue.drain_inbox"].apply(("q3",)).get()
    assert pending.get(timeout=5).versions == {"k": 1}
    assert queue.workflow("q3", agent_id="a")["k"] == CANARY


def test_keys_are_rotated_by_the_command_line(url: str, queue: ContextQueue) -> None:
    queue.workflow("q3", agent_id="a").put("k", CANARY)
    newer = installed(url, {"keys": NEW, "encrypt": "all"})
    first, second = told(newer.app, "rotate-keys", "--json").rows()
    assert (first["values"], second["values"], second["refused"]) == (1, 0, 0)
    assert second["left"] == 1  # what the workflow was opened with
    assert installed(url, {"keys": {"new": b"n" * 32}, "encrypt": "all"}).workflow("q3", agent_id="a")["k"] == CANARY
    with pytest.raises(DecryptionError):
        queue.workflow("q3", agent_id="a")["k"]


def test_the_command_line_rotates_and_erases_archives_too(url: str, queue: ContextQueue, tmp_path: Path) -> None:
    queue.memory.remember(CANARY, user_id="eve")
    queue.memory.retention["semantic"] = ctxqueue.Retention(1e-6, 1)
    archive = Path(str(queue.memory.apply_retention(archive=tmp_path).archive))
    newer = installed(url, {"keys": NEW, "encrypt": "all"})
    newer.app.conf.ctxqueue_memory_archive = str(tmp_path)
    assert "1 lines in 1 archives" in told(newer.app, "rotate-keys").stdout
    (line,) = read_archive(archive, newer.manager.terms.namespace, Keyring({"new": b"n" * 32}))
    assert line["content"] == CANARY
    assert "1 lines were removed" in told(newer.app, "erase", "--user", "eve", "--yes").stdout
    assert list(tmp_path.iterdir()) == []
    archive.write_text("torn", encoding="utf-8")
    assert told(newer.app, "rotate-keys", "--json").status == 1


def test_rotating_says_what_was_refused(url: str, queue: ContextQueue) -> None:
    plain = installed(url, None)
    plain.workflow("q3", agent_id="a").put("k", 1)
    answer = told(queue.app, "rotate-keys")
    assert (answer.status, "1 were refused" in answer.stdout) == (1, True)
    assert told(plain.app, "rotate-keys").stderr.startswith("Error: this manager has no keyring")


def test_an_app_has_one_keyring(url: str) -> None:
    queue = installed(url, None)
    with pytest.raises(ConfigurationError, match="another keyring"):
        ctxqueue.install(queue.app, keyring=OLD)
