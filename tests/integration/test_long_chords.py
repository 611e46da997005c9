"""A chord with a member that is parked for longer than results are kept completes all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chord

from ctxqueue.errors import ConfigurationError
from ctxqueue.integration import chords
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking", ctxqueue_sweep_interval=0.5, result_expires=5)
    site.worker()
    site.beat()
    return site


def test_a_chord_outlives_a_member_that_is_parked_for_longer_than_results_are_kept(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        members = [site.task("begin").si(), site.task("named").si("late")]
        chord(members, site.task("gather").s().set(task_id=f"body-{workflow.workflow_id}")).delay()
    wait_until(lambda: len(site.parked(workflow)) == 1, "a member is parked")
    begun = site.clock()
    wait_until(lambda: site.clock() - begun > 10.0, "results are kept no longer")
    workflow.put("late", 1)
    body = site.app.AsyncResult(f"body-{workflow.workflow_id}")
    wait_until(lambda: body.state == "SUCCESS", "the body has run")
    assert body.result == ["begun", [1]]


def test_what_cannot_be_kept_is_told_before_the_member_is_parked(site: Deployment) -> None:
    class Backend:
        expires = 60.0

    class Request:
        chord, group = {"task": "gather"}, "a group"

    class Task:
        name, request, backend = "named", Request, Backend

        class app:  # noqa: N801 - as a task has it
            backend = Backend

    given: Any = Task
    with pytest.raises(ConfigurationError, match="may be parked for 61 s"):
        chords.keep_counted(given, 61.0)
    chords.keep_counted(given, 59.0)
    assert chords.renew_waiting(given.app) == 0
    assert chords.renew_waiting(site.app) >= 0
