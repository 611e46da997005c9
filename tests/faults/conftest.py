"""Fixtures of the rooms whose tests write to a Redis."""

from __future__ import annotations

from tests.contract.keyspace import tidy_redis

__all__ = ["tidy_redis"]
