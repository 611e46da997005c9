"""A page for Prometheus."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector


def registry() -> CollectorRegistry:
    """Return what holds this process's counts, and those of the processes that share its folder for them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    made = CollectorRegistry()
    MultiProcessCollector(made)  # type: ignore[no-untyped-call]  # prometheus_client leaves it out
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
