"""Fixtures of the rooms whose tests write to a Redis, and what of the contract the server matrix keeps for itself."""

from __future__ import annotations

import pytest

from tests.contract.keyspace import tidy_redis
from tests.contract.matrix import is_core, missing, started

__all__ = ["started", "tidy_redis"]

VARIANTS = {
    *("test_server_matrix.py", "test_cluster.py", "test_cluster_async.py", "test_sentinel.py"),
    *("test_postgres.py", "test_postgres_async.py", "test_sqlite.py", "test_sqlite_async.py", "test_redis_async.py"),
}
"""Of these ``./dev test`` runs the core: in memory and on one Redis it runs the whole contract, and a database takes
its time for each of eight hundred tests."""

TWINS = {"test_cluster_async.py", "test_postgres_async.py", "test_sqlite_async.py"}
"""They differ from their blocking twins by the driver alone: of these it runs what updates and watches."""


def is_left_out(item: pytest.Function) -> bool:
    """Whether ``./dev test`` leaves a test to the matrix."""
    name, part = item.path.name, item.function.__module__.rpartition(".")[2]
    return name in VARIANTS and (not is_core(item) or (name in TWINS and part not in ("updates", "watching")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to ``./dev test-matrix`` what of the contract depends little on how a store is reached.

    Raises UsageError there for a missing one.
    """
    if config.getoption("--every-server") and (reasons := missing()):
        raise pytest.UsageError(*reasons)
    for item in items:
        if isinstance(item, pytest.Function) and is_left_out(item):
            item.add_marker(pytest.mark.matrix)
