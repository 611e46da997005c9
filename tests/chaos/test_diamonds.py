"""Tasks that wait for each other's keys, in any order of arrival, while processes die: as ``./dev diamonds`` has it."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.diamonds import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
@pytest.mark.timeout(120)
def test_30_diamonds_end_once_each_though_two_workers_are_killed(tmp_path: Path) -> None:
    outcome = run(tmp_path, count=30, seed=random.randrange(1_000_000), kills=2)  # noqa: S311
    assert outcome.wrong == []
    assert outcome.faults.landed.total() >= 2


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_1000_diamonds_end_once_each_while_faults_rain(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if store == "postgres" else ""
    seed = random.randrange(1_000_000)  # noqa: S311
    outcome = run(tmp_path, count=1_000, seed=seed, url=url)
    sys.stdout.write(f"seed {seed}\n{outcome}\n")
    assert outcome.wrong == []
    assert outcome.faults.landed.total() > 0
