"""Fixtures of the rooms whose tests write to a Redis, and the stores that outlive a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.testing.contract.runs import Worker
from tests.contract.keyspace import tidy_redis
from tests.faults.dying import LEASE, WORKFLOW, Noting
from tests.faults.places import place_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.places import Place

__all__ = ["tidy_redis"]


@pytest.fixture(params=["redis", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty store of each kind; what a test leaves there must fit together."""
    place = place_at(request.getfixturevalue(f"{request.param}_url"))
    yield place
    assert place.objections() == []
    place.close()


@pytest.fixture
def worker(place: Place) -> Iterator[Worker]:
    """A process of an app with leases that end soon, and a workflow for its runs."""
    worker = Worker(place.url, lease=LEASE)
    noting: Any = Noting(worker.manager.store)
    worker.manager.store = worker.manager.driver.store = noting
    worker.manager.workflow(WORKFLOW).open()
    yield worker
    worker.manager.close()
