"""The store on a Redis Cluster keeps the contract, and leaves no key without an end."""

from __future__ import annotations

import pytest

from ctxqueue.testing.contract import StoreContract


class TestCluster(StoreContract):
    @pytest.fixture
    def url(self, cluster_url: str) -> str:
        return cluster_url
