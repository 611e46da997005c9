"""Fixtures of the rooms whose tests write to a Redis, and what of the contract the server matrix keeps for itself."""

from __future__ import annotations

import pytest

from tests.contract.keyspace import tidy_redis
from tests.contract.matrix import is_core, started

__all__ = ["started", "tidy_redis"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to ``./dev test-matrix`` the tests that go over each server, but hardly to its commands."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.name == "test_server_matrix.py" and not is_core(item):
            item.add_marker(pytest.mark.matrix)
