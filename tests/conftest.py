"""Servers that the tests start for themselves, and settings that hold for all of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import hypothesis
import pytest
import redis

from ctxqueue.testing import EmbeddedServer, FaultProxy
from tests.clustered import cluster_client, cluster_url, redis_cluster, sentinel_url, sentinels

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cluster_client", "cluster_url", "redis_cluster", "sentinel_url", "sentinels"]

DATABASES = 16

# Examples stay random in CI too, where hypothesis would fix them; a slow machine is not a failure.
hypothesis.settings.register_profile("ctxqueue", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.load_profile("ctxqueue")

_tests = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``./dev test-matrix`` passes it."""
    parser.addoption(
        "--every-server", action="store_true", help="fail where a server of the matrix is missing, whatever the reason"
    )


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedServer]:
    """The run's server. A test that stops, pauses or configures one starts its own EmbeddedServer."""
    with EmbeddedServer(config={"databases": str(DATABASES)}) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """The URL of an empty database: the next one each time, lest a straggler of the last test writes here."""
    url = redis_server.url(next(_tests) % DATABASES)
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def proxy(redis_url: str) -> Iterator[FaultProxy]:
    """A wire to ``redis_url`` that fails on demand; its ``url`` is the way through it."""
    with FaultProxy(redis_url) as proxy:
        yield proxy
