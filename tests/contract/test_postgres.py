"""The SQL store keeps the contract on PostgreSQL."""

from __future__ import annotations

import pytest

from ctxqueue.testing.contract import StoreContract


class TestPostgres(StoreContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
