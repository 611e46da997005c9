"""Whatever can be called is either a path by which something stored is seen, and listed as one, or shows nothing."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click
from celery import Celery

import ctxqueue
from ctxqueue import errors
from ctxqueue.callbacks import LocalSubscription
from ctxqueue.flows.transactions import Transaction
from ctxqueue.integration.aio import AsyncContextQueue
from ctxqueue.integration.cli import ctx as commands
from ctxqueue.integration.memories import QueuedMemoryManager
from ctxqueue.integration.memories_aio import AsyncQueuedMemoryManager
from ctxqueue.integration.task import ContextTask
from ctxqueue.read_paths import READ_PATHS
from ctxqueue.subscriptions import AsyncSubscription, Subscription
from ctxqueue.triggers import AsyncTrigger, AsyncWhen, Trigger, When

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDED_OUT = (
    *(AsyncContextQueue, AsyncQueuedMemoryManager, AsyncSubscription, AsyncTrigger, AsyncWhen, ContextTask),
    *(LocalSubscription, QueuedMemoryManager, Subscription, Transaction, Trigger, When),
)
"""What public calls return, or tasks are, beside what has a public name."""

RESULTS = frozenset(
    [
        "Agent",
        "AuditRecord",
        "AuditedEntry",
        "Backlog",
        "Change",
        "CommitResult",
        "ContextEntry",
        "ContextPriority",
        "ContextScope",
        "DeadLetter",
        "EraseReport",
        "MemoryEntry",
        "Notification",
        "Page",
        "ParkedTask",
        "Progress",
        "Put",
        "Recalled",
        "Retention",
        "RetentionReport",
        "RotationReport",
        "Secret",
        "Settings",
        "SweepReport",
        "Weights",
        "WorkflowContext",
        "WorkflowSummary",
    ]
)
"""What is given and returned: the call that returns one is the path."""
WITHOUT_STORE = frozenset(
    [
        "CallableEmbedder",
        "ContextFilterRegistry",
        "Embedder",
        "Keyring",
        "OpenAIEmbedder",
        "SentenceTransformerEmbedder",
        "StaticEmbedder",
    ]
)
"""They see what they are given."""

SHOWS_NOTHING = {
    "AfterCommit": "create delete put set_agent_state update",
    "AgentContext": "with_memories",
    "ContextAwareAgent": "__repr__ execute_task_with_context handle_context_change name role workflow",
    "ContextDependencyTracker": "update_dependencies",
    "ContextNotificationManager": "notify_context_update",
    "ContextQueue": "PlainTask Task aio cancel close drop_dead_letter enqueue_update handle manager memory on_store"
    " policy prepare register_agent release replay_dead_letter task update url workflow",
    "ContextStorage": "close delete_context store_context update_entry",
    "Guards": "of register set_policy",
    "LocalSubscription": "__repr__ cancel state tell",
    "MemoryEnhancedContextManager": "learn_from_execution",
    "PendingRecall": "__repr__ ready",
    "PendingUpdate": "__repr__ get id state",
    "Proposed": "key scope",
    "QueuedMemoryManager": "enqueue_consolidation enqueue_learning enqueue_reembedding enqueue_remember"
    " enqueue_remember_many enqueue_retention remember_result",
    "SharedContextManager": "check_operator cleanup_expired_contexts close context_filters create_workflow_context"
    " drop_dead_letter erase guards replay_dead_letter rotate_keys update_context workflow",
    "Subscription": "__repr__ cancel",
    "Transaction": "belongs_to commit drop stage",
    "Trigger": "__repr__ cancel fire",
    "VectorMemoryManager": "close consolidate embedder learn_from_execution reembed refresh_index remember"
    " remember_many share store_memory store_procedural_skill store_semantic_knowledge"
    " store_workflow_experience weights working",
    "Watch": "close cursor",
    "WorkflowHandle": "__repr__ bind close delete etag on_commit open remove set_agent_state terms transaction update",
    "WorkingMemory": "add clear",
    "task": "Request __call__ acontext apply apply_async backend condition context looked_at named_agent once retry"
    " signature_from_request waited",
    "ctx": "check completion dead-drop dead-replay delete erase import memory-forget memory-pin memory-reembed migrate"
    " parked-cancel parked-release policy-explain put retention rotate-keys sweep triggers-cancel triggers-fire"
    " uninstall-check update",
}
"""A name, an id, a state, a number of the caller's own, or that something was done. ``delete`` and ``update`` tell a
writer whether there was something, and its new version: so much is allowed."""
QUIET = {f"{owner}.{name}" for owner, names in SHOWS_NOTHING.items() for name in names.split()}

CALLED = ("__call__", "__contains__", "__getitem__", "__iter__", "__len__", "__next__", "__repr__")
TWINS = {
    "ContextTask": "task",
    "DatabaseContextStorage": "ContextStorage",
    "MemoryContextStorage": "ContextStorage",
    "RedisContextStorage": "ContextStorage",
    "AsyncContextQueue": "ContextQueue",
}
"""Under which name a class is listed, where that is neither its own nor that without ``Async``."""
ASYNC_NAMES = {"__aiter__": "__iter__", "__anext__": "__next__"}
WITHOUT_ENTRY = {"InboxFull", "StoreUnavailable", "WriteRefused"}
"""Errors that carry something, and nothing that is stored."""


def classes() -> list[type]:
    public = [getattr(ctxqueue, name) for name in ctxqueue.__all__]
    listed = [each for each in public if inspect.isclass(each) and not issubclass(each, BaseException)]
    return [*(each for each in listed if each.__name__ not in RESULTS | WITHOUT_STORE), *HANDED_OUT]


def listed_as(kind: type) -> str:
    return TWINS.get(kind.__name__, TWINS.get(kind.__name__.removeprefix("Async"), kind.__name__.removeprefix("Async")))


def paths_of(kind: type) -> Iterator[set[str]]:
    """Yield, for each thing that can be called or looked at, the names by which it may be listed."""
    for owner in kind.__mro__:
        if not owner.__module__.startswith("ctxqueue."):
            continue
        for name, member in vars(owner).items():
            called = ASYNC_NAMES.get(name, name)
            if not (callable(member) or isinstance(member, property | classmethod | staticmethod)):
                continue
            if not called.startswith("_") or called in CALLED:
                bases = [base for base in kind.__mro__ if base.__module__.startswith("ctxqueue.")]
                yield {f"{listed_as(base)}.{called}" for base in bases}


def commands_in(group: click.Group, before: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands_in(command, f"{before} {name}")
        else:
            yield f"{before} {name}"


def test_what_can_be_called_is_listed_or_shows_nothing() -> None:
    unknown = [names for kind in classes() for names in paths_of(kind) if not names & (READ_PATHS.keys() | QUIET)]
    assert unknown == [], (
        "put each into READ_PATHS, with a way for the oracle to drive it, or say that it shows nothing"
    )


def test_a_command_is_listed_or_shows_nothing() -> None:
    quiet = {f"ctx {name.replace('-', ' ', 1)}" for name in SHOWS_NOTHING["ctx"].split()}
    quiet |= {f"ctx {name}" for name in SHOWS_NOTHING["ctx"].split()}
    assert [name for name in commands_in(commands, "ctx") if name not in READ_PATHS.keys() | quiet] == []


def test_an_error_that_carries_something_stored_is_listed() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, BaseException)]
    carrying = [kind.__name__ for kind in kinds if "__init__" in vars(kind)]
    assert [name for name in carrying if name not in READ_PATHS.keys() | WITHOUT_ENTRY] == []


def test_whatever_is_listed_is_there() -> None:
    there = {name for kind in classes() for names in paths_of(kind) for name in names}
    there |= {f"AgentContext.{name}" for name in dir(ctxqueue.AgentContext)} | set(commands_in(commands, "ctx"))
    there |= {name for name in dir(errors) if inspect.isclass(getattr(errors, name))} | {"task.needs"}
    assert sorted(READ_PATHS.keys() - there) == []
    assert sorted(READ_PATHS.keys() & QUIET) == []


def test_a_task_of_ours_returns_no_entry() -> None:
    """What each returns is named in docs/memory.md and docs/coordination.md: ids, versions, counts."""
    app = Celery("listed", set_as_current=False)
    ctxqueue.install(app, backend_url="memory://")
    ours = {name for name in app.tasks if name.startswith("ctxqueue.")}
    assert ours == {
        *("ctxqueue.cleanup_sweep", "ctxqueue.consolidate", "ctxqueue.context_update", "ctxqueue.dependency_callbacks"),
        *("ctxqueue.drain_inbox", "ctxqueue.embed", "ctxqueue.launch_canvas", "ctxqueue.look_later"),
        *("ctxqueue.memory_learning", "ctxqueue.memory_retention", "ctxqueue.recall", "ctxqueue.reembed"),
        *("ctxqueue.remember", "ctxqueue.trigger_run_ended", "ctxqueue.update_with_result"),
    }


def test_both_faces_have_the_same_paths() -> None:
    named = [(kind.__name__.startswith("Async"), names) for kind in classes() for names in paths_of(kind)]
    blocking = {name for of_async, names in named if not of_async for name in names}
    assert [names for of_async, names in named if of_async and not names & blocking] == []
