"""An agent's tasks: it acts in its workflow, is parked where it waits, and is told of changes by a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue import InvalidInput
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("agents", ctxqueue_sweep_interval=0.25, ctxqueue_lease=1.0)
    site.worker()
    return site


@pytest.mark.parametrize("name", ["plain", "awaited"])
def test_it_waits_without_a_worker_acts_and_is_told(site: Deployment, name: str) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task(f"agents.{name}_1.execute").delay("add up", {"unused": 1})
    workflow.put("start", 1)
    wait_until(lambda: result.state == "WAITING" and site.notes(f"begun:{workflow.workflow_id}"), "it is parked")
    assert result.info == {"needs": ["revenue"]}
    workflow.put("revenue", [1, 2])
    assert result.get(SECONDS) == {"status": "success"}
    entry = workflow.get(f"{name}_total")
    assert (entry.value, entry.version, entry.agent_id) == (3, 1, f"{name}_1")
    site.queue.workflow(workflow.workflow_id, agent_id="feed_1").update({"rates_a": 1, "rates_b": 2})
    wait_until(lambda: len(workflow.get("told", None).value if workflow.get("told") else []) == 2, "it was told")
    assert sorted(workflow["told"]) == ["rates_a", "rates_b"]
    assert workflow.get("told").agent_id == f"{name}_1"
    told = site.notes(f"told:{workflow.workflow_id}")
    assert sorted(told) == [[f"{name}_1", "feed_1", "rates_a"], [f"{name}_1", "feed_1", "rates_b"]]


def test_what_is_no_agent_is_refused(site: Deployment) -> None:
    with pytest.raises(InvalidInput, match="ContextAwareAgent"):
        site.queue.register_agent(object())
