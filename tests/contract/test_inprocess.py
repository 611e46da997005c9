"""The in-process store keeps the contract."""

from __future__ import annotations

import uuid

import pytest

from ctxqueue.testing.contract import StoreContract


class TestInprocess(StoreContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4()}"
