"""The SQL store keeps the contract on SQLite."""

from __future__ import annotations

import pytest

from ctxqueue.testing.contract import StoreContract


class TestSqlite(StoreContract):
    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url
