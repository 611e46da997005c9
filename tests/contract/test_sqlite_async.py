"""The SQL store for event loops keeps the contract on SQLite: each effect is awaited in a loop of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.testing.contract import StoreContract
from tests.contract.awaited import awaiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager


class TestAsyncSqlite(StoreContract):
    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url

    @pytest.fixture
    def manager(self, url: str) -> Iterator[SharedContextManager]:
        with awaiting(url) as manager:
            yield manager
