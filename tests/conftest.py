"""Servers that the tests start for themselves, and settings that hold for all of them."""

from __future__ import annotations

import itertools
import os
import shutil
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
import redis

from ctxqueue.stores.sql import migrate
from ctxqueue.testing import EmbeddedPostgres, EmbeddedServer, FaultProxy
from tests.clustered import cluster_client, cluster_url, redis_cluster, sentinel_url, sentinels
from tests.tables import emptied, objections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["cluster_client", "cluster_url", "redis_cluster", "sentinel_url", "sentinels"]

DATABASES = 16
POSTGRES_DATABASES = 4

# Examples are new ones each time, but in CI, which says yes or no to a change; a slow machine is not a failure.
hypothesis.settings.register_profile(
    "ctxqueue",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ctxqueue")

_tests = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``./dev test-matrix`` passes it."""
    parser.addoption(
        "--every-server", action="store_true", help="run nothing unless every server of the matrix is there"
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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL, with some databases that have our tables."""
    with EmbeddedPostgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE test0")
            migrate(server.url("test0"))
            for number in range(1, POSTGRES_DATABASES):
                connection.execute(f"CREATE DATABASE test{number} TEMPLATE test0")
        yield server


@pytest.fixture
def postgres_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database without a row; what a test leaves there must fit together."""
    url = postgres_server.url(f"test{next(_tests) % POSTGRES_DATABASES}")
    emptied(url)
    yield url
    assert objections(url) == []


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that has our tables."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without a row; what a test leaves there must fit together."""
    path = tmp_path / "context.db"
    shutil.copyfile(sqlite_template, path)
    yield f"sqlite:///{path}"
    assert objections(f"sqlite:///{path}") == []
