"""A secret goes through every operation, well and badly, on a real worker; afterwards it is found nowhere."""

from __future__ import annotations

import json
import urllib.request
import zlib
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
import redis
from celery import chain, chord

from ctxqueue.errors import CtxqueueError
from ctxqueue.models import Put
from ctxqueue.testing import EmbeddedServer
from tests.integration.apps.canary import AGENT, FAILURES
from tests.integration.listening import every_event
from tests.spelling import places
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

CANARY = 'canary-7f3c9d1e-do-not-show"ü'
FAR = 100_000
"""Seconds."""
KEYRING = {"keys": {"k": b64encode(b"k" * 32).decode()}, "encrypt": "all"}


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedServer]:
    """The store has a server of its own: what the broker holds is looked at apart."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def site(deploy: Deploy, store: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deploy(
        "canary",
        ctxqueue_backend_url=store.url(),
        ctxqueue_keyring=KEYRING,
        ctxqueue_embedder="tests.integration.embedders:Letters",
        ctxqueue_memory_archive=str(tmp_path_factory.mktemp("archive")),
        ctxqueue_metrics=True,
        ctxqueue_note_reads=True,
        result_extended=True,
        task_send_sent_event=True,
        worker_prefetch_multiplier=4,
        broker_transport_options={"visibility_timeout": 2 * FAR},
        ctxqueue_sweep_interval=0.25,
    )


@pytest.fixture(scope="module")
def events(site: Deployment) -> Iterator[list[dict[str, Any]]]:
    with every_event(site.app) as seen:
        yield seen


def page(address: str) -> bytes:
    """Return what is answered, be it an error."""
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - of our own processes
            return bytes(answer.read())
    except HTTPError as error:
        return bytes(error.read())


def dump(url: str) -> dict[str, bytes]:
    """Return all that a server holds, by key."""
    with redis.Redis.from_url(url) as client:
        return {key.decode(): repr_of(client, key) for key in client.scan_iter(count=1_000)}


def repr_of(client: Any, key: bytes) -> bytes:
    """Return a key, its names and its values, as they are."""
    read: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: [client.get(key)],
        b"hash": lambda: [part for pair in client.hgetall(key).items() for part in pair],
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"stream": lambda: [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair],
    }
    parts = read.get(client.type(key), list)()
    return b"\n".join([key, *(part or b"" for part in parts)])


def saved(server: EmbeddedServer) -> dict[str, bytes]:
    """Let a server write its file, not compressed, and return all that it has written."""
    with redis.Redis.from_url(server.url()) as client:
        client.config_set("rdbcompression", "no")
        client.save()
        folder = Path(client.config_get("dir")["dir"])
    return {f"file {path.name}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shown(found: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Return where the canary stands, by what it stands in."""
    return {name: there for name, what in found.items() if (there := places(CANARY, what))}


def test_the_search_finds_it_where_it_is(store: EmbeddedServer) -> None:
    with redis.Redis.from_url(store.url(9)) as client:
        client.hset("a", "b", zlib.compress(json.dumps([CANARY]).encode()))
        client.xadd("c", {"d": b64encode(CANARY.encode())})
        client.zadd(CANARY, {"e": 1})
        assert len(shown(dump(store.url(9)))) == 3
        client.flushdb()


def ended(site: Deployment, workflow: Any) -> dict[str, Any]:
    """Let everything be done; return the results by name, once each has ended, and what waits on."""
    task = site.task
    with workflow:
        results = {name: task("fail").delay(name) for name in FAILURES}
        results["work"] = task("work").delay()
        results["again"] = task("again").delay(CANARY)
        results["chain"] = chain(task("read").si(CANARY), task("read").si(CANARY)).delay()
        results["chord"] = chord([task("read").s(CANARY), task("read").s(CANARY)], task("again").si(CANARY)).delay()
        for how in ("succeed", "fail"):
            results[f"agent {how}"] = task(f"agents.{AGENT}.execute").delay(how, {"given": CANARY})
        waiting = {"wait": task("wait").delay(CANARY, also=CANARY), "inside": task("waits_inside").delay(CANARY)}
    memory = site.queue.memory
    result = {"status": "success", "learned_pattern": {"skill_name": "s", "steps": [CANARY]}}
    results["recall"] = memory.enqueue_recall(f"who has {CANARY}", agent_id=AGENT).result
    results["learning"] = memory.enqueue_learning(workflow.workflow_id, AGENT, f"look for {CANARY}", result, 1.0)
    results["update"] = site.queue.enqueue_update(workflow.workflow_id, AGENT, {"salary": CANARY})
    late = {"salary": Put(CANARY, expected_version=9)}
    results["refused"] = site.queue.enqueue_update(workflow.workflow_id, AGENT, late)
    for name, each in results.items():
        wait_until(each.ready, f"{name} has ended")
    return results | waiting


def asked(site: Deployment, known: list[str]) -> dict[str, bytes]:
    """Return what the worker answers to whoever inspects it."""
    inspect = site.app.control.inspect(timeout=SECONDS, limit=1)
    looks = ("active", "reserved", "scheduled", "registered", "stats", "conf", "active_queues", "report")
    found = {f"inspect {name}": json.dumps(getattr(inspect, name)()).encode() for name in looks}
    found["inspect query_task"] = json.dumps(inspect.query_task(known)).encode()
    told = site.app.control.broadcast("ctxqueue_stats", reply=True, timeout=SECONDS, limit=1)  # type: ignore[attr-defined]
    return found | {"inspect ctxqueue_stats": json.dumps(told).encode()}


def browsed(flower: str, known: list[str]) -> dict[str, bytes]:
    """Return Flower's pages, and what its API answers."""
    workers = list(json.loads(page(f"{flower}/api/workers?refresh=1")))
    paths = ["", "tasks", "api/tasks", "workers", "broker", "metrics", "api/task/types", "api/queues/length"]
    paths += [f"worker/{name}" for name in workers]
    paths += [f"{kind}/{each}" for each in known for kind in ("task", "api/task/info", "api/task/result")]
    return {f"flower {path}": page(f"{flower}/{path}") for path in paths}


def test_a_secret_is_found_nowhere(
    site: Deployment,
    store: EmbeddedServer,
    events: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workflow = site.workflow("canary")
    workflow.put("site_credential", CANARY)
    counts = tmp_path_factory.mktemp("counts")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counts))
    worker = site.worker("-E", "-l", "debug", slots=2, ctxqueue_metrics_port=0)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    flower = site.flower()
    results = ended(site, workflow)
    for name in FAILURES:
        with pytest.raises((CtxqueueError, LookupError)) as caught:
            results[name].get(SECONDS)
        assert places(CANARY, repr(vars(caught.value)).encode() + str(caught.value).encode()) == [], name
    for name in ("work", "again", "agent succeed"):
        assert results[name].successful(), f"{name}: {results[name].result}"
    wait_until(lambda: workflow.get("coalesced"), "what waited in the inbox is done")
    wait_until(lambda: len(site.queue.manager.parked(workflow.workflow_id)) == 2, "two tasks are parked")

    # One is under way, one behind it in the worker, one in its timer, and triggers are armed.
    with workflow:
        site.task("held").delay(CANARY)
        site.until_held("held")
        site.task("read").apply_async((CANARY,), countdown=FAR)
    inspect = site.app.control.inspect(timeout=SECONDS, limit=1)
    wait_until(lambda: any((inspect.scheduled() or {"": []}).values()), "one is scheduled")
    known = [each.id for each in results.values()]
    found = asked(site, known)
    assert "(...)" in found["inspect active"].decode()
    wait_until(lambda: b"WAITING" in page(f"{flower}/task/{results['wait'].id}"), "Flower knows the parked task")
    found |= browsed(flower, known)
    found |= {f"armed {key}": what for key, what in dump(store.url()).items()}
    found |= {f"armed {name}": what for name, what in saved(store).items()}
    assert shown(found) == {}

    # What waits goes on, what is scheduled is called off, and the broker is left with nothing but results.
    site.let_go("held")
    workflow.update({"key": 1, "other_key": 1, "others_text": 1})
    assert results["wait"].get(SECONDS) == [len(CANARY)] * 2
    assert results["inside"].get(SECONDS) == len(CANARY)
    site.app.control.purge()
    wait_until(lambda: not any((inspect.active() or {"": [1]}).values()), "nothing is under way")
    site.stop(worker)
    client = site.redis
    client.delete("unacked", "unacked_index", "celery")  # what was in the worker's timer
    found = {f"broker {key}": what for key, what in dump(site.url).items()}
    found |= {f"broker {name}": what for name, what in saved(site.server).items()}
    found |= {f"store {key}": what for key, what in dump(store.url()).items()}
    found |= {f"store {name}": what for name, what in saved(store).items()}
    written = [site.folder, counts, Path(site.settings["ctxqueue_memory_archive"])]
    found |= {f"file {path}": path.read_bytes() for folder in written for path in folder.rglob("*") if path.is_file()}
    found["events"] = json.dumps(events, default=repr).encode()
    assert shown(found) == {}
    assert any(name.startswith("broker celery-task-meta") for name in found)
    assert b"TaskPool: Apply" in b"".join(what for name, what in found.items() if name.endswith(".log"))
    kinds = {event["type"] for event in events}
    assert {"task-sent", "task-received", "task-succeeded", "task-failed", "task-retried", "task-waiting"} <= kinds
