"""Memory by the workers: producers load no model, messages and results hold no text, and what is lost comes back."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain

import ctxqueue
from ctxqueue import IdentityMismatch, InvalidInput, StaleOperation, WorkflowNotFound
from ctxqueue.clock import microseconds
from ctxqueue.effects import LoadMemories
from ctxqueue.flows import asking
from ctxqueue.integration import memory_answers
from ctxqueue.remembered import REQUESTS, body_of
from tests.integration.deployments import ASIDE, ROOT
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

SLOTS = 2
EVE: dict[str, Any] = {"user_id": "eve", "scope": "private"}
IVY: dict[str, Any] = {"user_id": "ivy", "scope": "private"}
CANARY = "canary7f3c9d1e"
RESULT = {"status": "success", "learned_pattern": {"skill_name": "closing", "steps": ["count", "sign"]}}


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy(
        "remembering",
        ctxqueue_embedder="tests.integration.apps.remembering:TellingEmbedder",
        ctxqueue_memory_summariser="tests.integration.apps.remembering:first_and_last",
        ctxqueue_memory_worth_keeping="tests.integration.apps.remembering:worth_keeping",
        result_extended=True,
        task_send_sent_event=True,
    )
    site.worker("-E", "-l", "debug", slots=SLOTS)
    return site


def requests_of(site: Deployment, name: str) -> int:
    """How many requests of an agent's or a user's nobody has answered."""
    store = site.queue.manager.store
    pages = [store.perform(LoadMemories(owner.digest, "", 0, 1_000)) for owner in REQUESTS]
    saids = [body_of(row.body).said for page in pages for row in page.rows]
    return sum(name in (said.agent_id, said.user_id) for said in saids)


def test_what_a_worker_remembers_a_worker_recalls(site: Deployment) -> None:
    memory = site.queue.memory
    texts = ["Paris is the capital of France", "The kettle is on", "this is not worth it"]
    told = memory.enqueue_remember_many([{"content": text, **EVE} for text in texts]).get(SECONDS)
    assert told["embedded"] == len(told["memory_ids"]) == 2
    (first, *_) = found = memory.enqueue_recall("What is the capital?", **EVE, explain=True).get(SECONDS)
    assert first.memory.content == texts[0]
    assert (first.memory.user_id, first.memory.access_count) == ("eve", 1)
    assert 0 < first.memory.relevance_score <= 1.0001
    assert {"words", "cosine"} <= first.parts.keys()
    assert {each.memory.content for each in found} == set(texts[:2])
    assert memory.enqueue_recall("What is the capital?", user_id="bob", scope="private").get(SECONDS) == []
    assert memory.enqueue_recall("capital", **EVE, where={"no": 1}, min_score="default").get(SECONDS) == []
    wait_until(lambda: requests_of(site, "eve") == 0, "what was asked for is gone")


def test_it_is_there_at_once_and_embedded_by_whoever_recalls_if_its_message_is_lost(site: Deployment) -> None:
    memory = site.queue.memory
    memory.enqueue_remember("The harbour of Piraeus", "episodic", **IVY, importance=0.9, queue=ASIDE)
    assert site.all_intercepted()
    (listed,) = [each for each in memory.list(user_id="ivy") if "Piraeus" in each.content]
    assert (listed.model, listed.importance) == ("", 0.9)
    (found, *_) = memory.enqueue_recall("Piraeus", **IVY).get(SECONDS)
    assert found.memory.content == "The harbour of Piraeus"
    now = memory.get(listed.id)
    assert now is not None
    assert now.model == "wordllama-l2-supercat:256"


def test_nothing_shows_what_it_is_about(site: Deployment) -> None:
    memory = site.queue.memory
    results = [
        memory.enqueue_remember(f"{CANARY} remembered", **IVY),
        memory.enqueue_recall(f"who is {CANARY}?", **IVY, where={"k": CANARY}).result,
        memory.enqueue_recall(CANARY, **IVY).result,
        memory.enqueue_learning("w", "a_1", f"task {CANARY}", {"status": "failed", "error": CANARY}, 1.5),
    ]
    for result in results:
        result.get(SECONDS)
        wait_until(lambda result=result: f"[{result.id}] succeeded" in site.log(), "the worker has told of it")
    sent = [
        memory.enqueue_recall(CANARY, **IVY, queue=ASIDE).result,
        memory.enqueue_remember(CANARY, **IVY, queue=ASIDE),
    ]
    messages = site.all_intercepted()
    bodies = b"".join(base64.b64decode(json.loads(message)["body"]) for message in messages)
    assert all(any(result.id.encode() in message for message in messages) for result in sent)
    stored = b"".join(site.redis.get(key) for key in site.redis.scan_iter("celery-task-meta-*"))
    assert all(result.id.encode() in stored for result in results)
    seen = b"".join((*messages, bodies, stored, site.log().encode()))
    assert CANARY.encode() not in seen
    for shift in range(3):
        assert base64.b64encode(b"x" * shift + CANARY.encode())[4:-4] not in seen


def test_executions_are_learned_of_once_however_often_their_message_comes(site: Deployment) -> None:
    memory = site.queue.memory
    message = site.intercepted(_learning(site))
    first, second = site.deliver(message), site.deliver(message, under_a_new_tag=True)
    assert first == second
    ids = site.app.AsyncResult(first).get(SECONDS)["memory_ids"]
    episode, skill = (memory.get(memory_id) for memory_id in ids)
    assert episode is not None
    assert skill is not None
    assert "close the books" in episode.content
    assert skill.metadata["skill_name"] == "clerk_1_closing"
    memory.enqueue_learning("w", "clerk_1", "again", RESULT, 2.5).get(SECONDS)
    again = memory.get(skill.id)
    assert again is not None
    assert (again.metadata["attempts"], again.metadata["successes"]) == (2, 2)
    assert again.metadata["success_rate"] > skill.metadata["success_rate"]


class _learning:  # noqa: N801 - stands for a signature
    """What publishes the message that lets a worker learn."""

    def __init__(self, site: Deployment) -> None:
        self._memory = site.queue.memory

    def apply_async(self, **options: Any) -> Any:
        return self._memory.enqueue_learning("w", "clerk_1", "close the books", RESULT, 2.5, **options)


def test_what_was_to_be_learned_is_asked_for_again(site: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = site.queue.memory
    result = memory.enqueue_learning("w", "clerk_2", "lost on the way", RESULT, 2.5, queue=ASIDE)
    assert len(site.all_intercepted()) == 1
    assert memory_answers.ask_again(site.queue) == 0
    monkeypatch.setattr(memory_answers, "OVERDUE", 0.001)
    wait_until(lambda: memory_answers.ask_again(site.queue) == 1, "it is overdue")
    assert len(site.all_intercepted()) == 1
    (request_id,) = memory.driver.run(asking.overdue("ctxqueue.memory_learning", microseconds(0.001)))
    site.app.send_task("ctxqueue.memory_learning", (request_id,), task_id=result.id)
    assert len(result.get(SECONDS)["memory_ids"]) == 2


def test_a_request_that_has_expired_says_so(site: Deployment) -> None:
    task = site.task("ctxqueue.recall")
    never_asked = f"{REQUESTS[0].digest}-{'0' * 32}"
    with pytest.raises(StaleOperation):
        task.delay(never_asked).get(SECONDS)


def test_working_memories_are_consolidated(site: Deployment) -> None:
    memory, workflow = site.queue.memory, site.workflow()
    working = memory.working(workflow.workflow_id, "clerk_1")
    for text in ("first", "second", "third"):
        working.add(text)
    told = memory.enqueue_consolidation(workflow.workflow_id, "clerk_1").get(SECONDS)
    kept = [memory.get(memory_id, agent_id="clerk_1") for memory_id in told["memory_ids"]]
    assert [each.content for each in kept if each] == ["first", "third"]
    assert working.items() == []
    with pytest.raises(WorkflowNotFound):
        memory.enqueue_consolidation("no-such-workflow", "clerk_1").get(SECONDS)


def test_a_chains_result_is_remembered(site: Deployment) -> None:
    memory = site.queue.memory
    remembering = memory.remember_result("episodic", user_id="dan", importance=0.8)
    told = chain(site.task("tell").s(["one", {"content": "two", "metadata": {"k": 1}}]), remembering).delay()
    entries = [memory.get(memory_id, user_id="dan") for memory_id in told.get(SECONDS)["memory_ids"]]
    assert [(each.content, each.importance) for each in entries if each] == [("one", 0.8), ("two", 0.8)]
    with pytest.raises(InvalidInput):
        chain(site.task("tell").s(5), remembering).delay().get(SECONDS)
    with pytest.raises(IdentityMismatch):
        chain(site.task("tell").s({"content": "three", "agent_id": "mallory_1"}), remembering).delay().get(SECONDS)
    with pytest.raises(InvalidInput):
        memory.remember_result("imaginary")


def test_retention_and_reembedding_by_a_worker(site: Deployment) -> None:
    memory = site.queue.memory
    memory.enqueue_remember("waits for its vector", user_id="fay", queue=ASIDE)
    assert len(site.all_intercepted()) == 1
    assert memory.enqueue_reembedding().get(SECONDS)["moved"] >= 1
    assert memory.enqueue_reembedding().get(SECONDS) == {"moved": 0}
    told = memory.enqueue_retention(dry_run=True).get(SECONDS)
    assert (told["complete"], told["dry_run"]) == (True, True)
    assert told["removed"]["semantic"] == {"expired": 0, "aged": 0, "surplus": 0}


def test_event_loops_do_the_same(site: Deployment) -> None:
    async def main() -> None:
        memory = site.queue.aio.memory
        (await memory.enqueue_remember("Oslo is in Norway", user_id="gus")).get(SECONDS)
        recall = await memory.enqueue_recall("Where is Oslo?", user_id="gus", scope="private")
        (found,) = await recall.get(SECONDS)
        assert found.memory.content == "Oslo is in Norway"
        assert await recall.ready()
        learned = await memory.enqueue_learning("w", "clerk_9", "a task", {"status": "failed"}, 1.0)
        assert len((await asyncio.to_thread(learned.get, SECONDS))["memory_ids"]) == 1

    asyncio.run(main())


def test_the_model_is_loaded_once_in_each_pool_process_and_runs_on_one_thread(site: Deployment) -> None:
    memory = site.queue.memory
    memory.enqueue_remember("so that there is one").get(SECONDS)
    made = site.notes("made")
    assert len(made) == len({pid for pid, _ in made}) <= SLOTS
    worker = {parent for _, parent in made}
    assert len(worker) == 1
    assert os.getpid() not in worker | {pid for pid, _ in made}
    threads = [number for numbers in site.notes("threads") for number in numbers]
    assert threads
    assert set(threads) == {1}


def test_a_process_that_remembers_and_recalls_by_task_loads_neither_model_nor_numpy(site: Deployment) -> None:
    code = """
import json, sys
from tests.integration.apps.entry import app
import ctxqueue
memory = ctxqueue.install(app).memory
print(memory.enqueue_remember("Bern is in Switzerland", user_id="hal").get(60)["embedded"])
print([each.memory.content for each in memory.enqueue_recall("Bern", user_id="hal", scope="private").get(60)])
memory.enqueue_learning("w", "clerk_1", "t", {"status": "success"}, 1.0).get(60)
print([name for name in ("numpy", "tokenizers", "safetensors", "Stemmer") if name in sys.modules])
"""
    environment = {
        **os.environ,
        "SAMPLE_APP": "tests.integration.apps.parking",
        "SAMPLE_SETTINGS": json.dumps({**site.settings, "ctxqueue_namespace": "default"}),
    }
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    assert answer.stdout.splitlines() == ["1", "['Bern is in Switzerland']", "[]"], answer.stderr


def test_wrong_input_is_refused_before_anything_is_stored(site: Deployment) -> None:
    memory = site.queue.memory
    calls: list[Any] = [
        lambda: memory.enqueue_remember(" "),
        lambda: memory.enqueue_remember("x", "imaginary"),
        lambda: memory.enqueue_remember("x", args=(1,)),
        lambda: memory.enqueue_remember_many("a text"),
        lambda: memory.enqueue_remember_many(["x"] * 1_001),
        lambda: memory.enqueue_recall("", user_id="liz"),
        lambda: memory.enqueue_recall("x", limit=0, user_id="liz"),
        lambda: memory.enqueue_recall("x", scope="nowhere", user_id="liz"),
        lambda: memory.enqueue_recall("x", where={"k": object()}, user_id="liz"),
        lambda: memory.enqueue_recall("x", min_score="often", user_id="liz"),
        lambda: memory.enqueue_recall("x", where={"k": "x" * 1024 * 1024}, user_id="liz"),
        lambda: memory.enqueue_learning("w", "liz_1", "t", {"learned_pattern": 5}, 1.0),
        lambda: memory.enqueue_learning("w", "liz_1", "t", {}, -1.0),
        lambda: memory.enqueue_learning("w", "", "t", {}, 1.0),
        lambda: memory.enqueue_consolidation("w", ""),
    ]
    for call in calls:
        with pytest.raises(InvalidInput):
            call()
    assert requests_of(site, "liz") == requests_of(site, "liz_1") == 0
    assert site.waiting_messages() == []


def test_what_waits_for_an_agent_is_erased_with_it(site: Deployment) -> None:
    memory = site.queue.memory
    memory.enqueue_recall("private", agent_id="gone_1", queue=ASIDE)
    memory.enqueue_remember("private", agent_id="gone_1", queue=ASIDE)
    assert requests_of(site, "gone_1") == 1
    assert site.queue.manager.erase(agent_id="gone_1").memories == 1
    assert requests_of(site, "gone_1") == 0
    site.all_intercepted()


def test_in_unit_tests_it_is_done_at_once() -> None:
    app = ctxqueue.install(_eager()).app
    memory = ctxqueue.install(app).memory
    assert memory.enqueue_remember("Rome is in Italy").get()["embedded"] == 1
    (found,) = memory.enqueue_recall("Rome").get()
    assert found.memory.content == "Rome is in Italy"
    assert len(memory.enqueue_learning("w", "a_1", "t", {"status": "success"}, 1.0).get()["memory_ids"]) == 1


def test_without_a_result_backend_a_recall_by_a_worker_says_so() -> None:
    app = _eager()
    app.conf.task_always_eager = False
    with pytest.raises(ctxqueue.ConfigurationError, match="result_backend"):
        ctxqueue.install(app).memory.enqueue_recall("x")


def _eager() -> Any:
    from celery import Celery  # noqa: PLC0415 - the one of these tests that has an app of its own

    app = Celery("eager", set_as_current=False)
    app.conf.update(ctxqueue_backend_url="memory://", task_always_eager=True)
    return app
