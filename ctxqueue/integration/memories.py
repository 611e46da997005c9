"""The app's memories: ``ctx.memory``, over the app's store, as its settings say."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import ConfigurationError
from ctxqueue.memories.manager import VectorMemoryManager
from ctxqueue.memories.weights import Weights

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue


def memory_of(queue: ContextQueue) -> VectorMemoryManager:
    """Return a manager over the queue's store, without I/O; raises ConfigurationError.

    Settings: ``ctxqueue_embedder`` (an embedder, a function, or where to import one or its class from, as
    "package.module:name"), ``ctxqueue_memory_weights`` (fields of `Weights`), ``ctxqueue_memory_retention`` (by type a
    `Retention`, a pair or a mapping), ``ctxqueue_memory_supersede_above`` (a cosine).
    """
    conf = queue.app.conf
    manager = VectorMemoryManager(
        queue.manager,
        embedder=embedder_named(conf.get("ctxqueue_embedder")),
        weights=_weights(conf.get("ctxqueue_memory_weights")),
        supersede_above=conf.get("ctxqueue_memory_supersede_above"),
        retention=conf.get("ctxqueue_memory_retention"),
    )
    manager.driver = queue.manager.driver  # whoever observes the app observes its memories
    return manager


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
