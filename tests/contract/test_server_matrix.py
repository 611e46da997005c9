"""The Redis store keeps the contract on every server that it is promised for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.testing.contract import StoreContract
from tests.contract.matrix import SERVERS, emptied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.matrix import Started

ELSEWHERE = {"valkey-9", "redis-7.0"}
"""The first is what the other tests run on; the second does not come with the environment."""


class TestEachServer(StoreContract):
    @pytest.fixture(
        params=[pytest.param(name, marks=[pytest.mark.matrix] if name in ELSEWHERE else []) for name in SERVERS]
    )
    def url(self, request: pytest.FixtureRequest, started: Started) -> Iterator[str]:
        yield from emptied(started(request.param))
