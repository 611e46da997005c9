"""Fixtures of the rooms whose tests write to a Redis, and the stores that outlive a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.keyspace import tidy_redis
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
