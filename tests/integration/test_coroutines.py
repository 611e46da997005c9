"""Agents that are coroutines: one loop a process, the same identity and journal, and an end when they must."""

from __future__ import annotations

import os
import signal
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest
from celery import chain, group
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError

from ctxqueue.errors import ConfigurationError, SyncInAsyncError
from tests.integration.apps.coroutines import TOOLS
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module", params=["prefork", "threads", "solo"])
def site(deploy: Deploy, request: pytest.FixtureRequest) -> Deployment:
    site = deploy("coroutines", ctxqueue_lease=1.0, ctxqueue_sweep_interval=0.25)
    site.worker(pool=request.param, slots=2)
    site.beat()
    return site


@pytest.fixture(scope="module")
def prefork(deploy: Deploy) -> Deployment:
    site = deploy("coroutines", ctxqueue_lease=1.0, ctxqueue_sweep_interval=0.25)
    site.worker(slots=2)
    site.beat()
    return site


def test_it_reads_and_writes_in_chains_and_groups(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        assert chain(site.task("extract").s("rows"), site.task("extend").s()).delay().get(SECONDS) == 1
        answers = group(site.task("extract").s(str(number)) for number in range(6)).delay().get(SECONDS)
    assert sorted(workflow["log"][2:]) == sorted(answer for each in answers for answer in each)


def test_each_process_has_one_loop_for_all_its_tasks(site: Deployment) -> None:
    with site.workflow():
        results = [site.task("extract").delay(str(number)) for number in range(12)]
    for result in results:
        result.get(SECONDS)
    places = {tuple(site.notes(f"ran:{result.id}")[0]) for result in results}
    assert len(places) == len({process for process, _loop in places})


def test_it_parks_and_is_resumed(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("wait").delay()
    wait_until(lambda: site.parked(workflow), "the task is parked")
    workflow.put("key", "here")
    assert result.get(SECONDS) == ["here", True]


def test_a_message_delivered_again_changes_nothing(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        message = site.intercepted(site.task("extract").s("rows"))
    result = site.app.AsyncResult(site.deliver(message))
    first = result.get(SECONDS)
    site.deliver(message)
    wait_until(lambda: not any(site.queued().values()), "every message is answered")
    assert workflow["log"] == first


def test_a_retry_writes_again(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        assert site.task("persist").delay().get(SECONDS) == 2
    assert workflow["log"] == ["try 0", "try 1", "try 2"]


def test_its_steps_are_carried_out_once_though_it_is_retried(site: Deployment) -> None:
    workflow = site.workflow()
    site.let_go(workflow.workflow_id, 2)
    with workflow:
        result = site.task("stepwise").delay(workflow.workflow_id, times=1)
    kinds = ["coroutine", "lambda", "plain", "thread", "0", "1", "2"]
    assert [draw.partition("-")[0] for draw in result.get(SECONDS)] == kinds
    assert sorted(site.notes(f"drawn:{result.id}")) == sorted(kinds)
    assert len(site.notes(f"ran:{result.id}")) == 2


def test_its_loop_goes_on_while_a_step_is_carried_out(site: Deployment) -> None:
    with site.workflow():
        assert site.task("step_while_others_run").delay().get(SECONDS) is True


def test_a_plain_body_is_told_that_it_cannot_await_its_step(site: Deployment) -> None:
    with site.workflow():
        result = site.task("step_to_be_awaited").delay()
    with pytest.raises(ConfigurationError, match="async def"):
        result.get(SECONDS)


def test_tasks_of_its_loop_run_in_its_name(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        result = site.task("delegate").delay()
    ids, child = result.get(SECONDS)
    assert ids == [result.id] * 3
    assert site.app.AsyncResult(child).get(SECONDS) == workflow["log"]
    assert [each.id for each in result.children] == [child]


def test_a_call_that_would_block_its_loop_is_refused(site: Deployment) -> None:
    with site.workflow():
        result = site.task("blocking").delay()
    with pytest.raises(SyncInAsyncError, match="awaited"):
        result.get(SECONDS)


def test_a_thread_that_was_not_given_the_context_is_told_how(site: Deployment) -> None:
    with site.workflow():
        assert "ctxqueue.copy_context().run" in site.task("alone").delay().get(SECONDS)


def test_one_that_something_in_it_cancels_has_failed(site: Deployment) -> None:
    with site.workflow():
        result = site.task("cancelled").delay()
    with pytest.raises(CancelledError, match="the coroutine of task cancelled was cancelled from inside"):
        result.get(SECONDS)


def test_one_that_would_end_its_process_stalls_no_other(deploy: Deploy) -> None:
    site = deploy("coroutines")
    site.worker(slots=1)
    workflow = site.workflow()
    with workflow:
        result = site.task("leaving").delay()
        wait_until(lambda: site.notes(f"began:{result.id}"), "it has begun")
        assert site.task("extract").delay("after").get(SECONDS) == workflow["log"]


def test_coroutines_of_one_process_run_at_the_same_time(deploy: Deploy) -> None:
    site = deploy("coroutines")
    site.worker(pool="threads", slots=2)
    with site.workflow():
        results = [site.task("meet").delay("left", "right"), site.task("meet").delay("right", "left")]
    assert [result.get(SECONDS) for result in results] == ["left", "right"]


@pytest.mark.parametrize(("name", "kind"), [("by_coroutine", "AsyncWorkflowHandle"), ("by_threads", "WorkflowHandle")])
def test_what_tools_in_threads_wrote_before_a_crash_is_not_written_twice(
    prefork: Deployment, name: str, kind: str
) -> None:
    workflow = prefork.workflow()
    with workflow:
        result = prefork.task(name).delay(name)
    prefork.until_held(name)
    os.kill(prefork.notes(f"ran:{result.id}")[0], signal.SIGKILL)
    prefork.let_go(name, 2)
    assert result.get(SECONDS) == [kind, "WorkflowHandle extractor"]
    assert len(prefork.notes(f"ran:{result.id}")) == 2
    assert sorted(workflow["log"]) == list(range(TOOLS))
    assert [workflow.get(f"tool-{number}").version for number in range(TOOLS)] == [1] * TOOLS


def test_steps_before_a_crash_are_not_carried_out_again(prefork: Deployment) -> None:
    workflow = prefork.workflow()
    name = workflow.workflow_id
    with workflow:
        result = prefork.task("stepwise").delay(name)
    prefork.until_held(name)
    drawn = prefork.notes(f"drawn:{result.id}")
    os.kill(prefork.notes(f"ran:{result.id}")[0], signal.SIGKILL)
    prefork.let_go(name, 2)
    assert len(set(result.get(SECONDS))) == 7
    assert prefork.notes(f"drawn:{result.id}") == drawn
    assert len(prefork.notes(f"ran:{result.id}")) == 2


def test_a_soft_time_limit_ends_it(prefork: Deployment) -> None:
    with prefork.workflow():
        result = prefork.task("slow").delay()
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(SECONDS)
    assert prefork.notes(f"ended:{result.id}") == [1]


def test_it_can_handle_a_soft_time_limit_as_a_plain_function_does(prefork: Deployment) -> None:
    workflow = prefork.workflow()
    with workflow:
        assert prefork.task("careful").delay().get(SECONDS) == "late, but well"
    assert workflow["log"] == "in time"


def test_a_revoked_one_ends_with_its_process(prefork: Deployment) -> None:
    workflow = prefork.workflow()
    with workflow:
        result = prefork.task("endless").delay()
        (process,) = wait_until(lambda: prefork.notes(f"began:{result.id}"), "it has begun")
        result.revoke(terminate=True)
        with pytest.raises(TaskRevokedError):
            result.get(SECONDS)
        assert prefork.task("extract").delay("after").get(SECONDS) == workflow["log"]
    wait_until(lambda: not os.path.exists(f"/proc/{process}"), "its process has ended")  # noqa: PTH110


def test_a_worker_of_green_threads_says_that_it_cannot(deploy: Deploy) -> None:
    site = deploy("coroutines")
    site.worker(pool="gevent", slots=4)
    workflow = site.workflow()
    with workflow:
        result = site.task("extract").delay("rows")
        with pytest.raises(ConfigurationError, match=r"gevent worker.*--pool=prefork, threads or solo"):
            result.get(SECONDS)
