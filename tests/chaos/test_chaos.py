"""Processes that die and stand still at random, under load, as ``./dev chaos`` has it."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path

LEAST_SHARE = 0.3
"""Of the kills, to land while a body runs or between commit and ack."""


# Where a kill lands is chance: what a share of them must do can only be told of many.
@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(("seconds", "tasks"), [(60, 2_000), (600, 20_000)])
def test_killed_and_stopped_workers_cost_no_effect_and_double_none(seconds: float, tasks: int, tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)  # noqa: S311
    outcome = run(tmp_path, seconds=seconds, tasks=tasks, seed=seed)
    sys.stdout.write(f"seed {seed}\n{outcome}\n")
    assert outcome.verdict.wrong == []
    assert outcome.tasks >= tasks
    assert outcome.faults.landed.total() > 0
    assert outcome.faults.share_that_hurt >= LEAST_SHARE


@pytest.mark.long
@pytest.mark.timeout(900)
def test_messages_that_the_store_keeps_are_not_lost_with_a_worker_either(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)  # noqa: S311
    outcome = run(tmp_path, seconds=180, tasks=4_000, seed=seed, durable=True)
    sys.stdout.write(f"seed {seed}\n{outcome}\n")
    assert outcome.verdict.wrong == []
    assert outcome.verdict.lost_by_the_broker == []
    assert outcome.faults.done["kill a stopped worker"] > 0
