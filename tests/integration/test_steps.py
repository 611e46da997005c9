"""A step is carried out once, whatever becomes of the process that carries out the body."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("effects", ctxqueue_lease=1.0, ctxqueue_sweep_interval=0.25)
    site.worker()
    site.beat()
    return site


@pytest.mark.parametrize("bound", [True, False])
def test_a_body_that_runs_again_gets_the_first_result(site: Deployment, bound: bool) -> None:  # noqa: FBT001
    workflow = site.workflow()
    name = workflow.workflow_id
    if bound:
        with workflow:
            result = site.task("stepwise").delay(name)
    else:
        result = site.task("stepwise").delay(name)
    site.until_held(name)
    (pid,) = site.notes(f"ran:{result.id}")
    os.kill(pid, signal.SIGKILL)
    site.let_go(name, 3)
    first, second = result.get(SECONDS)
    assert first == second
    assert len(site.notes(f"drawn:{result.id}")) == 1
    assert len(site.notes(f"ran:{result.id}")) == 2


def test_a_retry_gets_it_too(site: Deployment) -> None:
    workflow = site.workflow()
    site.let_go(workflow.workflow_id, 3)
    with workflow:
        result = site.task("stepwise").delay(workflow.workflow_id, times=2)
    first, second = result.get(SECONDS)
    assert first == second
    assert len(site.notes(f"drawn:{result.id}")) == 1
    assert len(site.notes(f"ran:{result.id}")) == 3


def test_called_directly_it_is_just_carried_out(site: Deployment) -> None:
    assert site.task("extract").once("draw", lambda: 7) == 7


def test_called_directly_a_coroutine_awaits_it_all_the_same() -> None:
    """There is no run, and no store is asked: the plain and the awaited step are both just carried out."""
    app = Celery("steps", set_as_current=False)
    ctx = ctxqueue.install(app, backend_url="memory://")

    @ctx.task(name="draw", agent_type="extractor")
    async def draw(self: Any) -> list[int]:
        async def awaited() -> int:
            await asyncio.sleep(0)
            return 7

        return [await self.once("awaited", awaited), await self.once("plain", lambda: 8)]

    async def in_a_loop() -> list[int]:
        drawn: list[int] = await draw()
        return drawn

    assert draw() == [7, 8]
    assert asyncio.run(in_a_loop()) == [7, 8]
    app.conf.task_always_eager = True
    assert draw.delay().get() == [7, 8]
    app.close()
