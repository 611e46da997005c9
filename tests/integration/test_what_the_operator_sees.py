"""By no path of whoever runs the place a sensitive value is shown that was not asked for with ``reveal``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from prometheus_client import CollectorRegistry, generate_latest

import ctxqueue
from ctxqueue import all_of, key
from ctxqueue.effects import Outgoing, Position
from ctxqueue.flows import attempts, inbox, stored
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import Attempt
from ctxqueue.integration import messages
from ctxqueue.models import Agent
from ctxqueue.observability.exporting import StoreCollector
from ctxqueue.read_paths import READ_PATHS
from ctxqueue.rules.conditions import as_condition
from tests.integration.commands import told
from tests.property.test_what_is_remembered import EMBEDDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.integration.install import ContextQueue

CANARY = "canary7f3c9d1e"
TOKEN = f"ghp_{CANARY}{'a1' * 11}"
POLICY = {
    "rule": [{"agent_type": "ann", "allow": ["read"], "sensitive": True}],
    "sensitive": [{"key": ["payroll_*"]}],
}
ANN = Agent("ann_1", groups=("closing",))


@pytest.fixture(scope="module")
def queue() -> Iterator[ContextQueue]:
    app = Celery("seen", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(ctxqueue_policy=POLICY, ctxqueue_embedder=EMBEDDER, ctxqueue_note_reads=True)
    queue = ctxqueue.install(app, backend_url=f"memory://{uuid.uuid4()}")

    @app.task(name="note", shared=False)
    def note(_what: str) -> None:
        pass

    filled(queue)
    yield queue
    queue.manager.close()


def filled(queue: ContextQueue) -> None:
    """Put the canary wherever something sensitive can stand or wait."""
    ann = queue.workflow("q3", agent_id=ANN.agent_id, groups=ANN.groups)
    ann.open()
    for name in ("api_key", "payroll_1"):
        ann.put(name, "before")
        ann.put(name, {"of": CANARY})
    ann.put("note", TOKEN)
    ann.put("given", CANARY, sensitive=True, depends_on=["api_key"])
    ann.put("api_key", {"of": [CANARY]})
    ann.put("gone_password", CANARY)
    ann.delete("gone_password")
    for where in ({"scope": "private"}, {"group": "closing"}, {"scope": "global"}):
        ann.put("db_password", CANARY, **where)
    ann.set_agent_state(token=TOKEN)
    memory = queue.memory
    memory.remember(f"log in with {TOKEN}", agent_id=ANN)
    memory.remember(f"log in by {CANARY}", metadata={"api_key": CANARY})
    memory.working("q3", ANN).add(f"log in with {TOKEN}")
    note = queue.app.tasks["note"]
    ann.when(all_of(key("api_key") == CANARY, key("note") == TOKEN)).then(note.s(CANARY))
    ann.when("never").then(note.s(CANARY))
    ann.subscribe("api_*", note.s(CANARY))
    terms, run = queue.manager.terms, queue.manager.driver.run
    first, second = (item_id(terms.app, "q3", "run", Position(0, leg)) for leg in (0, 1))
    message = messages.frozen(queue.app, "note", (CANARY,), {"task_id": "run"})
    begun = run(attempts.claim(terms, attempts.Ticket("q3", "run", Position(0, 0), first), ANN, None, lambda: message))
    waits, attempt = as_condition(key("note") == "else"), Attempt("run", 0, "q3", begun.claimed.epoch)
    run(attempts.park(terms, attempt, ANN, waits, second, message, 600))
    queue.enqueue_update("q3", ANN, {"api_key": CANARY}, coalesce=True)
    ref = inbox.checked(terms, "q3", ANN, {"api_key": CANARY}, "replace", "buried")
    payload = stored.packed("q3", ANN, {"api_key": CANARY}, "replace")
    run(inbox.enqueue(terms, ref, payload, outgoing=Outgoing("app\0q3\0buried\0update", b"m"), drain=None))
    run(inbox.bury(terms, ref, payload, 3, "it crashed"))


def whole(found: Any) -> Any:
    """Return all of what was found, not only its repr."""
    if isinstance(found, list | tuple) or (hasattr(found, "items") and not isinstance(found, dict)):
        return [whole(each) for each in found]
    return [found, vars(found)] if hasattr(found, "__dict__") else found


def by_command(*arguments: str, status: int = 0) -> Callable[[ContextQueue], Any]:
    """Return what shows a command's output, as text and as JSON where it has that; ``status`` is that of the text."""

    def shown(queue: ContextQueue) -> Any:
        answers = [told(queue.app, *arguments)]
        if "--json" in told(queue.app, *arguments[: 1 + (arguments[0] in GROUPS)], "--help").stdout:
            answers.append(told(queue.app, *arguments, "--json"))
        assert [answer.status for answer in answers] == [status, 0][: len(answers)], answers
        assert all(answer.stdout or answer.stderr for answer in answers)
        return answers

    return shown


GROUPS = ("audit", "dead", "memory", "parked", "triggers")


def by_tracker(name: str, *arguments: str) -> Callable[[ContextQueue], Any]:
    return lambda queue: getattr(queue.manager.dependency_tracker, name)("q3", *arguments)


def told_of_dependencies(queue: ContextQueue) -> Any:
    calls: list[Any] = []
    tracker = queue.manager.dependency_tracker
    tracker.register_dependency_callback("q3", "given", "api_key", lambda *given: calls.append(given))
    tracker.update_dependencies("q3", "api_key", "ann_1")
    return calls


def of_trigger(queue: ContextQueue) -> Any:
    (first, *_) = queue.workflow("q3").triggers()
    return by_command("triggers", "show", "q3", first.id)(queue)


def of_memory(queue: ContextQueue) -> Any:
    answers = [by_command("memory", "show", each.id)(queue) for each in queue.memory.list()]
    as_ann = [
        told(queue.app, "memory", "show", each.id, "--agent", "ann_1") for each in queue.memory.list(agent_id=ANN)
    ]
    assert len(answers) == len(as_ann) == 2
    return answers, as_ann


def exporter(queue: ContextQueue) -> Any:
    collector = StoreCollector(queue.manager, 60.0)
    collector.survey()
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


SEES: dict[str, Callable[[ContextQueue], Any]] = {
    "SharedContextManager.audit": lambda queue: queue.manager.audit(limit=1_000),
    "SharedContextManager.audit_gone": lambda queue: queue.manager.audit_gone(),
    "SharedContextManager.backlog": lambda queue: queue.manager.backlog(),
    "SharedContextManager.dead_letters": lambda queue: queue.manager.dead_letters("q3"),
    "SharedContextManager.parked": lambda queue: queue.manager.parked("q3"),
    "SharedContextManager.summary": lambda queue: queue.manager.summary("q3"),
    "SharedContextManager.unread": lambda queue: queue.manager.unread("q3"),
    "SharedContextManager.workflows": lambda queue: queue.manager.workflows(),
    "ContextDependencyTracker.dependency_graph": by_tracker("dependency_graph"),
    "ContextDependencyTracker.is_resolved": by_tracker("is_resolved", "given"),
    "ContextDependencyTracker.register_dependency_callback": told_of_dependencies,
    "ContextDependencyTracker.reverse_dependencies": by_tracker("reverse_dependencies"),
    "ContextDependencyTracker.stale": by_tracker("stale"),
    "ContextQueue.dead_letters": lambda queue: queue.dead_letters("q3"),
    "ContextQueue.parked": lambda queue: queue.parked("q3"),
    "ctx audit export": by_command("audit", "export"),
    "ctx changes": by_command("changes", "q3"),
    "ctx dead list": by_command("dead", "list"),
    "ctx diff": by_command("diff", "q3", "1"),
    "ctx export": by_command("export", "--all", "--global"),
    "ctx exporter": exporter,
    "ctx get": by_command("get", "q3", "given", status=1),
    "ctx graph": by_command("graph", "q3"),
    "ctx history": by_command("history", "q3", "api_key"),
    "ctx memory list": by_command("memory", "list"),
    "ctx memory search": by_command("memory", "search", "log in", "--agent", "ann_1"),
    "ctx memory show": of_memory,
    "ctx memory stats": by_command("memory", "stats"),
    "ctx parked list": by_command("parked", "list"),
    "ctx show": by_command("show", "q3"),
    "ctx stats": by_command("stats"),
    "ctx triggers list": by_command("triggers", "list", "q3"),
    "ctx triggers show": of_trigger,
    "ctx unread": by_command("unread", "q3"),
    "ctx watch": by_command("watch", "q3", "--from", "0", "--values", "--timeout", "0.05"),
    "ctx workflows": by_command("workflows"),
}


def test_each_path_of_the_operators_is_driven() -> None:
    assert set(SEES) == {path for path, sight in READ_PATHS.items() if sight == "operator"}


@pytest.mark.parametrize("path", sorted(SEES))
def test_no_sensitive_value_is_shown(queue: ContextQueue, path: str) -> None:
    found = SEES[path](queue)
    assert found not in (None, [], "")
    assert CANARY not in repr(whole(found))
