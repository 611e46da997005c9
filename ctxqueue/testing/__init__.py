"""What tests of code that uses ctxqueue need: a pytest plugin, real servers of their own, ways to make a wire fail.

Names are loaded when they are first used: the plugin is loaded by every suite of an environment that has ctxqueue.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctxqueue.testing.clock import TestClock as TestClock
    from ctxqueue.testing.clusters import EmbeddedCluster as EmbeddedCluster
    from ctxqueue.testing.eager import EagerContext as EagerContext
    from ctxqueue.testing.faults import FaultProxy as FaultProxy
    from ctxqueue.testing.postgres import EmbeddedPostgres as EmbeddedPostgres
    from ctxqueue.testing.postgres import find_postgres as find_postgres
    from ctxqueue.testing.sentinels import EmbeddedSentinels as EmbeddedSentinels
    from ctxqueue.testing.servers import EmbeddedServer as EmbeddedServer
    from ctxqueue.testing.servers import find_server as find_server

_HOME_OF = {
    "EagerContext": "eager",
    "EmbeddedCluster": "clusters",
    "EmbeddedPostgres": "postgres",
    "EmbeddedSentinels": "sentinels",
    "EmbeddedServer": "servers",
    "FaultProxy": "faults",
    "TestClock": "clock",
    "find_postgres": "postgres",
    "find_server": "servers",
}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - one list, not two


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ctxqueue.testing' has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
