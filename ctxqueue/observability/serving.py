"""A page for Prometheus."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from ctxqueue.observability.folding import fold

if TYPE_CHECKING:
    from prometheus_client import Metric


class FolderCollector:
    """What the processes that share a folder for their counts have counted, those that have ended too."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        """Say nothing: a registry would else read the folder when this is registered."""
        return []

    def collect(self) -> list[Metric]:
        """Return the sums; of ended processes one file is kept, else each that ever ran would leave its own."""
        with self._lock:  # two readers at once: one would count what the other is adding up
            fold(self._folder)
            made = MultiProcessCollector(None, self._folder)  # type: ignore[no-untyped-call]  # the library leaves it out
            return list(made.collect())  # type: ignore[no-untyped-call]


def registry() -> CollectorRegistry:
    """Return what holds this process's counts, and those of the processes that share its folder for them."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return REGISTRY
    made = CollectorRegistry()
    made.register(FolderCollector(folder))
    return made


class Serving:
    """A page that is served until it is closed."""

    def __init__(self, server: Any, thread: Any) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(given: CollectorRegistry, port: int, host: str) -> Serving:
    """Serve a registry; raises OSError if the port is taken."""
    return Serving(*start_http_server(port, host, given))
