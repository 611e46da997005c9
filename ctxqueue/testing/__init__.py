"""What tests of code that uses ctxqueue need: a real server of their own, and ways to make its wire fail."""

from __future__ import annotations

from ctxqueue.testing.clusters import EmbeddedCluster
from ctxqueue.testing.faults import FaultProxy
from ctxqueue.testing.postgres import EmbeddedPostgres, find_postgres
from ctxqueue.testing.sentinels import EmbeddedSentinels
from ctxqueue.testing.servers import EmbeddedServer, find_server

__all__ = [
    "EmbeddedCluster",
    "EmbeddedPostgres",
    "EmbeddedSentinels",
    "EmbeddedServer",
    "FaultProxy",
    "find_postgres",
    "find_server",
]
