"""The app's memories: ``ctx.memory``, over the app's store, as its settings say, and by its workers."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from ctxqueue.errors import ConfigurationError
from ctxqueue.flows import remembering
from ctxqueue.integration import memory_requests as requests
from ctxqueue.memories.loading import Later
from ctxqueue.memories.manager import VectorMemoryManager
from ctxqueue.memories.managing import INDEX_FROM
from ctxqueue.memories.recalls import PendingRecall
from ctxqueue.memories.weights import Weights
from ctxqueue.remembered import told_of
from ctxqueue.tasks.memory_retention import NAME as RETENTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from celery.canvas import Signature
    from celery.result import AsyncResult

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.integration.memory_requests import Message
    from ctxqueue.models import Agent, ContextScope


class QueuedMemoryManager(VectorMemoryManager):
    """The memories of an app: what a `VectorMemoryManager` does, done here, and with ``enqueue_`` by a worker.

    Whoever only calls the latter loads neither the model nor numpy. Messages and results hold no text: a memory is
    stored at once, and found once a worker has made its vector; what a recall is about waits in the store for ten
    minutes, and what an execution teaches for a day. Other keywords go to Celery's ``apply_async``.
    """

    def __init__(self, queue: ContextQueue) -> None:
        """Read the app's settings, without I/O; raises ConfigurationError.

        ``ctxqueue_embedder`` (an embedder, a function, or where to import one or its class from, as
        "package.module:name"), ``ctxqueue_memory_weights`` (fields of `Weights`), ``ctxqueue_memory_retention`` (by
        type a `Retention`, a pair or a mapping), ``ctxqueue_memory_supersede_above`` (a cosine),
        ``ctxqueue_memory_worth_keeping`` and ``ctxqueue_memory_summariser`` (functions, or where to import them from),
        ``ctxqueue_memory_index_from`` (memories of an owner).
        """
        conf = queue.app.conf
        super().__init__(
            queue.manager,
            embedder=_embedder(conf),
            weights=_weights(conf.get("ctxqueue_memory_weights")),
            supersede_above=conf.get("ctxqueue_memory_supersede_above"),
            worth_keeping=_imported(conf, "ctxqueue_memory_worth_keeping"),
            retention=conf.get("ctxqueue_memory_retention"),
            index_from=conf.get("ctxqueue_memory_index_from", INDEX_FROM),
        )
        self.driver = queue.manager.driver  # whoever observes the app observes its memories
        self.summariser: Any = _imported(conf, "ctxqueue_memory_summariser")
        self._app = queue.app

    def _published(self, message: Message) -> AsyncResult[dict[str, Any]]:
        arguments = self.driver.run(message.arguments)
        return requests.published(self._app, message.task, arguments, message.options)

    def enqueue_remember(
        self,
        content: str,
        memory_type: str = "semantic",
        *,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        at: datetime | str | None = None,
        session: str | int | None = None,
        sequence: float | None = None,
        speaker: str | None = None,
        importance: float = 0.5,
        pinned: bool = False,
        ttl: float | timedelta | None = None,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]:
        """Store a memory, which recalls find once a worker has embedded it: ``{"memory_ids", "embedded"}``.

        It is there for `get` and `list` at once. A message that is lost costs nothing: the next recall makes up for it.
        Raises InvalidInput.
        """
        item: dict[str, Any] = {
            "content": content,
            "memory_type": memory_type,
            "metadata": metadata,
            "agent_id": agent_id,
        }
        item |= {"user_id": user_id, "scope": scope, "at": at, "session": session, "sequence": sequence}
        item |= {"speaker": speaker, "importance": importance, "pinned": pinned, "ttl": ttl}
        return self.enqueue_remember_many([item], **apply_async_options)

    def enqueue_remember_many(
        self, items: Iterable[str | Mapping[str, Any]], **apply_async_options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Store up to 1,000 memories, to be embedded by a worker; see `remember_many` and `enqueue_remember`."""
        return self._published(requests.to_embed(self, self._checked_items(items), apply_async_options))

    def enqueue_recall(
        self,
        query: str,
        *,
        memory_types: Sequence[str] | None = None,
        limit: int = 5,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        where: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        min_score: float | Literal["default"] | None = None,
        explain: bool = False,
        **apply_async_options: Any,
    ) -> PendingRecall:
        """Let a worker recall; ``get(timeout)`` of what is returned has the memories.

        Celery's result names them, and the texts are read here, by whom they may be seen. Raises InvalidInput,
        ConfigurationError without a result backend.
        """
        requests.check_results(self._app)
        reader = self._reader(agent_id, user_id)
        wanted = self._request(
            *(query, memory_types, limit, reader, scope, where, since, until, min_score), explain=explain
        )
        result = self._published(requests.to_recall(reader, wanted, apply_async_options))
        return PendingRecall(self.driver, result, reader, self.memory_terms.policy)

    def enqueue_learning(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        result: Mapping[str, Any],
        execution_time: float,
        **apply_async_options: Any,
    ) -> AsyncResult[dict[str, Any]]:
        """Let a worker learn from an execution; see `learn_from_execution`. The result is ``{"memory_ids"}``.

        What is to be learned waits in the store: a message that is lost is sent again by beat, and one that comes twice
        counts once.
        """
        reader = self._reader(agent_id, None)  # raises for another one than the task's own
        message = requests.to_learn(workflow_id, reader, task, result, execution_time, apply_async_options)
        return self._published(message)

    def enqueue_consolidation(
        self, workflow_id: str, agent_id: str | Agent, *, memory_type: str = "episodic", **apply_async_options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Let a worker `consolidate` a working memory, by ``ctxqueue_memory_summariser``: ``{"memory_ids"}``."""
        agent = self.working(workflow_id, agent_id).agent  # raises for a name that is none
        return self._published(
            requests.named(
                *(requests.CONSOLIDATE, workflow_id, agent.agent_id, memory_type, told_of(agent)),
                options=apply_async_options,
            )
        )

    def enqueue_reembedding(self, **apply_async_options: Any) -> AsyncResult[dict[str, Any]]:
        """Let a worker move all memories to the model that its settings name: ``{"moved"}``; see `reembed`."""
        return self._published(requests.named(requests.REEMBED, options=apply_async_options))

    def enqueue_retention(
        self, *, limit: int = 100_000, dry_run: bool = False, **apply_async_options: Any
    ) -> AsyncResult[dict[str, Any]]:
        """Let a worker do what beat lets it do every hour: ``{"removed", "complete", "dry_run"}``."""
        options = {"ignore_result": False, **apply_async_options}
        return self._published(requests.named(RETENTION, limit, dry_run, options=options))

    def remember_result(self, memory_type: str = "semantic", **options: Any) -> Signature[dict[str, Any]]:
        """Return a signature for chains and callbacks: what the task before returns is remembered.

        That is a text, a mapping of `remember`'s arguments, or a list of such; ``options`` are those arguments for all
        of them. Its own result is ``{"memory_ids"}``. Raises InvalidInput.
        """
        given = {"memory_type": memory_type, **options}
        item = self._may_store(remembering.checked_item({"content": "anything", **given}))
        return requests.remembering_signature(self._app, given, self._reader_of(item).agent)


def _imported(conf: Any, setting: str) -> Any:
    given = conf.get(setting)
    if not isinstance(given, str):
        return given
    module, _, name = given.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise _not_found(setting, given, error) from error


def _not_found(setting: str, given: str, error: object) -> ConfigurationError:
    return ConfigurationError(f"{setting} is {given!r}: name it as 'package.module:name' ({error})")


def _embedder(conf: Any) -> Any:
    """Return the embedder, or what makes it later: its module may load a model, which producers do not need."""
    given = conf.get("ctxqueue_embedder")
    if not isinstance(given, str):
        return given
    module, _, name = given.partition(":")
    try:
        there = name and find_spec(module)
    except (ImportError, ValueError) as error:
        raise _not_found("ctxqueue_embedder", given, error) from error
    if not there:
        raise _not_found("ctxqueue_embedder", given, f"no module named {module!r}" if name else "no name")
    if module in sys.modules and not hasattr(sys.modules[module], name):
        raise _not_found("ctxqueue_embedder", given, f"it has no {name!r}")
    return Later(partial(embedder_named, given))


def embedder_named(embedder: Any) -> Any:
    """Return what "package.module:name" names, made if it is a class; raises ConfigurationError."""
    if not isinstance(embedder, str):
        return embedder
    module, _, name = embedder.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"there is no embedder {embedder!r}: name one as 'package.module:name' ({error})"
        ) from error
    return found() if isinstance(found, type) else found


def _weights(given: Any) -> Weights | None:
    if given is None or isinstance(given, Weights):
        return given
    try:
        return Weights(**given)
    except TypeError as error:
        raise ConfigurationError(f"ctxqueue_memory_weights: {error}") from error
