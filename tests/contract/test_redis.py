"""The Redis store keeps the contract, and leaves no key without an end."""

from __future__ import annotations

import pytest

from ctxqueue.testing.contract import StoreContract


@pytest.mark.usefixtures("tidy_redis")
class TestRedis(StoreContract):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url
