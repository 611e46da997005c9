"""The cluster store for event loops keeps the contract, and leaves no key without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.testing.contract import StoreContract
from tests.contract.awaited import awaiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager


class TestAsyncCluster(StoreContract):
    @pytest.fixture
    def url(self, cluster_url: str) -> str:
        return cluster_url

    @pytest.fixture
    def manager(self, url: str) -> Iterator[SharedContextManager]:
        with awaiting(url) as manager:
            yield manager
