"""Fixtures of the rooms whose tests write to a Redis."""

from __future__ import annotations

from tests.contract.clustered import cluster_client, cluster_url, redis_cluster, sentinel_url, sentinels
from tests.contract.keyspace import tidy_redis

__all__ = ["cluster_client", "cluster_url", "redis_cluster", "sentinel_url", "sentinels", "tidy_redis"]
