"""The store behind Sentinels keeps the contract, and leaves no key without an end."""

from __future__ import annotations

import pytest

from ctxqueue.testing.contract import StoreContract


class TestSentinel(StoreContract):
    @pytest.fixture
    def url(self, sentinel_url: str) -> str:
        return sentinel_url
