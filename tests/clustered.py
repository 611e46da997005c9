"""The run's Cluster and Sentinel set, emptied for each test, and checked for what one leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from ctxqueue.testing import EmbeddedCluster, EmbeddedSentinels
from tests.contract.keyspace import objections

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[EmbeddedCluster]:
    """Three masters with a replica each. A test that kills one or moves slots starts its own."""
    # On a loaded machine a master may stand still for a while; nobody is to take its place here.
    with EmbeddedCluster(node_timeout=30.0) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sentinels() -> Iterator[EmbeddedSentinels]:
    """A master, two replicas and three Sentinels. A test that stops one starts its own."""
    with EmbeddedSentinels(down_after=30.0) as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def cluster_client(redis_cluster: EmbeddedCluster) -> Iterator[RedisCluster]:
    """The checker's own client; made once, as it takes longer than a test."""
    with RedisCluster(host="127.0.0.1", port=redis_cluster.nodes[0].port or 0) as client:
        yield client


@pytest.fixture
def cluster_url(redis_cluster: EmbeddedCluster, cluster_client: RedisCluster) -> Iterator[str]:
    """The URL of an empty cluster; a test that leaves there what should not be there fails."""
    for master in redis_cluster.serving():
        redis_cluster.ask(master, "FLUSHALL")
    yield redis_cluster.url()
    assert objections(cluster_client) == []


@pytest.fixture
def sentinel_url(sentinels: EmbeddedSentinels) -> Iterator[str]:
    """The URL of an empty database behind Sentinels; a test that leaves there what should not be there fails."""
    with Redis.from_url(sentinels.master().url()) as client:
        client.flushall()
        yield sentinels.url()
        assert objections(client) == []
