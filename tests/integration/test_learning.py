"""An agent's task is learned of once an execution, whatever becomes of the worker that carries it out."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import UnifiedContextMemorySystem
from tests.integration.apps.learning import AGENT
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from ctxqueue.remembered import MemoryEntry
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("learning", ctxqueue_lease=1.0, ctxqueue_sweep_interval=0.25)
    site.worker()
    site.beat()
    return site


@pytest.fixture
def skill() -> str:
    return f"totals{next(_numbers)}"


def known(site: Deployment, name: str) -> MemoryEntry:
    """Return what is known of a skill."""
    listed = site.queue.memory.list(memory_types="procedural", where={"skill_name": name})
    (entry,) = listed
    return entry


def counts(site: Deployment, name: str) -> tuple[int, int]:
    """Return a skill's attempts and successes."""
    metadata = known(site, name).metadata
    return metadata["attempts"], metadata["successes"]


def episodes(site: Deployment, workflow_id: str) -> list[MemoryEntry]:
    return list(site.queue.memory.list(memory_types="episodic", where={"workflow_id": workflow_id}))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_an_agents_task_on_a_worker_is_learned_of_whether_it_succeeds_or_fails(site: Deployment, skill: str) -> None:
    workflow = site.workflow()
    system = UnifiedContextMemorySystem(site.queue.manager, site.queue.memory, execute=site.task("validate"))

    def process(status: str, **data: Any) -> Any:
        data |= {"status": status, "skill": skill}
        return system.process_with_memory_learning(workflow.workflow_id, AGENT, "validate the totals", data)

    result = process("success")
    assert (result["status"], result["by"]) == ("success", AGENT)
    assert workflow["latest_result"] == result
    first = known(site, f"{AGENT}_{skill}")
    assert (first.metadata["attempts"], first.metadata["successes"]) == (1, 1)
    failed = process("failed")
    assert workflow["latest_result"] == failed
    assert failed["status"] == "failed"
    second = known(site, f"{AGENT}_{skill}")
    assert (second.id, second.metadata["attempts"], second.metadata["successes"]) == (first.id, 2, 1)
    widths = [each.metadata["success_rate_high"] - each.metadata["success_rate_low"] for each in (first, second)]
    assert first.metadata["success_rate_low"] < second.metadata["success_rate"] < first.metadata["success_rate"]
    assert widths[1] < widths[0]
    with pytest.raises(LookupError):
        process("raises")
    assert counts(site, f"{AGENT}_{skill}") == (2, 1)
    assert ["LookupError" in each.content for each in episodes(site, workflow.workflow_id)] == [False, False, True]
    assert len(site.notes(f"ran:{workflow.workflow_id}")) == 3
    assert site.notes(f"knew:{workflow.workflow_id}")[1:] == [True, True]


@pytest.mark.parametrize("status", [pytest.param("success", marks=pytest.mark.long), "failed"])
def test_a_worker_killed_after_it_has_learned_leaves_each_execution_counted_once(
    site: Deployment, skill: str, status: str
) -> None:
    workflow = site.workflow()
    name = f"{AGENT}_{skill}"
    site.queue.memory.practise_skill(name, success=True)
    held = f"learned:{workflow.workflow_id}"
    with workflow:
        result = site.task("process").delay({"status": status, "skill": skill})
    site.until_held(held)
    before, of_its_own = known(site, name), known(site, f"own {skill}")
    (episode,) = episodes(site, workflow.workflow_id)
    kill(*site.notes(f"ran:{workflow.workflow_id}"))
    site.let_go(held, 2)
    assert result.get(SECONDS)["status"] == status
    assert len(site.notes(f"ran:{workflow.workflow_id}")) == 2
    assert counts(site, name) == (2, 1 + (status == "success"))
    assert known(site, name).metadata == before.metadata
    assert known(site, f"own {skill}").metadata == of_its_own.metadata
    (after,) = episodes(site, workflow.workflow_id)
    assert (after.id, after.importance) == (episode.id, episode.importance) == (episode.id, 0.625)
    assert workflow["latest_result"]["status"] == status


@pytest.mark.long
def test_a_worker_killed_while_the_agents_task_runs_is_nothing_that_is_learned_of(site: Deployment, skill: str) -> None:
    workflow = site.workflow()
    held = f"running:{workflow.workflow_id}"
    with workflow:
        result = site.task("process").delay({"status": "success", "skill": skill, "held_as": held})
    site.until_held(held)
    kill(*site.notes(f"ran:{workflow.workflow_id}"))
    site.let_go(held, 2)
    site.let_go(f"learned:{workflow.workflow_id}", 2)
    assert result.get(SECONDS)["status"] == "success"
    assert counts(site, f"{AGENT}_{skill}") == (1, 1)
    assert len(episodes(site, workflow.workflow_id)) == 1
