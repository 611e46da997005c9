"""Fixtures of the rooms whose tests write to a Redis, and what of the contract the server matrix keeps for itself."""

from __future__ import annotations

import pytest

from tests.contract.keyspace import tidy_redis
from tests.contract.matrix import is_core, missing, started

__all__ = ["started", "tidy_redis"]

ONCE_MORE = {"test_server_matrix.py", "test_cluster_async.py", "test_sentinel.py"}
"""The contract over what differs from another store only in the server, the driver, or the way to the server."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to ``./dev test-matrix`` the tests of those that ask little of a server.

    Raises UsageError there for a missing one.
    """
    if config.getoption("--every-server") and (reasons := missing()):
        raise pytest.UsageError(*reasons)
    for item in items:
        if isinstance(item, pytest.Function) and item.path.name in ONCE_MORE and not is_core(item):
            item.add_marker(pytest.mark.matrix)
