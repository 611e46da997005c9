"""Other people's tasks under ``@ctxqueue.claimed``: a message that is delivered twice runs once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

import ctxqueue
from tests.integration.apps import claimed as app_module
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("claimed", ctxqueue_lease=1.5, ctxqueue_max_lost_attempts=1, ctxqueue_sweep_interval=0.25)
    site.worker(slots=3)
    site.beat()
    return site


def delivered_twice(site: Deployment, signature: Any) -> tuple[Any, Any]:
    """Return the result after each delivery; the first is forgotten in between."""
    message = site.intercepted(signature)
    task_id = site.deliver(message)
    first = site.stored_anew(task_id)
    wait_until(lambda: not any(site.queued().values()), "the message is answered")
    site.forget_result(task_id)
    assert site.deliver(message, under_a_new_tag=True) == task_id
    return first, site.stored_anew(task_id)


@pytest.mark.parametrize("name", ["drawn", "bound", "over", "shared", "decorated"])
@pytest.mark.parametrize("in_workflow", [True, False])
def test_a_message_that_is_delivered_twice_has_one_result(site: Deployment, name: str, *, in_workflow: bool) -> None:
    what = f"{name}-{in_workflow}"
    if in_workflow:
        with site.workflow():
            first, second = delivered_twice(site, site.task(name).s(what))
    else:
        first, second = delivered_twice(site, site.task(name).s(what))
    assert first == second
    assert name == "shared" or len(site.notes(f"ran:{what}")) == 1


def test_two_messages_of_one_task_id_are_carried_out_each(site: Deployment) -> None:
    answers = []
    for more in (1, 2):
        result = site.task("drawn").apply_async(("daily",), {"more": more}, task_id="daily")
        answers.append(site.stored_anew(result.id)[2])
        site.forget_result(result.id)
    assert answers == [1, 2]
    assert site.notes("ran:daily") == [1, 2]


def test_its_tools_find_the_workflow_that_it_was_published_in(site: Deployment) -> None:
    workflow = site.workflow()
    with workflow:
        assert site.task("looks around").delay().get(SECONDS) == ["here"]
    assert workflow["log"] == ["here"]
    with pytest.raises(ctxqueue.ConfigurationError, match="there is no current workflow"):
        site.task("looks around").delay().get(SECONDS)


def test_a_failure_is_repeated_too(site: Deployment) -> None:
    first, second = delivered_twice(site, site.task("fails").s("f"))
    assert isinstance(first, LookupError)
    assert (type(first), str(first)) == (type(second), str(second))
    assert len(site.notes("ran:f")) == 1


def test_a_body_that_ends_with_ignore_is_not_carried_out_again(site: Deployment) -> None:
    message = site.intercepted(site.task("ignores").s("i"))
    for again in (False, True):
        site.deliver(message, under_a_new_tag=again)
        wait_until(lambda: not any(site.queued().values()), "the message is answered")
    assert len(site.notes("ran:i")) == 1


def test_arguments_are_checked_as_ever(site: Deployment) -> None:
    assert site.task("drawn").delay("args", more=3).get(SECONDS)[::2] == ["args", 3]
    with pytest.raises(TypeError):
        site.task("drawn").delay()
    with pytest.raises(TypeError):
        site.task("bound").delay("a", "b")


def test_automatic_retries_are_new_tries(site: Deployment) -> None:
    assert site.task("stubborn").delay("s").get(SECONDS) == 2
    assert site.notes("ran:s") == [0, 1, 2]


def test_a_body_that_kills_its_process_each_time_comes_to_an_end(site: Deployment) -> None:
    with pytest.raises(ctxqueue.RunAbandoned, match=r"task deadly: 2 attempts at run .* were lost"):
        site.task("deadly").delay().get(SECONDS)
    assert len(set(site.notes("ran:deadly"))) == 2


def test_a_process_that_is_killed_has_its_writes_replayed(site: Deployment) -> None:
    workflow = site.workflow()
    name = workflow.workflow_id
    result = site.task("writes").delay(name, name)
    site.until_held(name)
    pids = [info["id"] for info in _running(site)]
    assert result.id in pids
    os.kill(_process_of(site, result.id), signal.SIGKILL)
    site.let_go(name, 3)
    result.get(SECONDS)
    assert len(workflow["log"]) == 1
    assert len(site.notes(f"ran:{name}")) == 2


def _running(site: Deployment) -> list[dict[str, Any]]:
    active: Any = site.app.control.inspect(timeout=5).active()
    return [info for infos in active.values() for info in infos]


def _process_of(site: Deployment, task_id: str) -> int:
    (pid,) = (info["worker_pid"] for info in _running(site) if info["id"] == task_id)
    return int(pid)


def test_it_can_be_cancelled(site: Deployment) -> None:
    workflow = site.workflow()
    result = site.task("writes").delay(workflow.workflow_id, workflow.workflow_id)
    site.until_held(workflow.workflow_id)
    assert site.queue.cancel(result.id) is True
    site.let_go(workflow.workflow_id)
    wait_until(lambda: not any(site.queued().values()), "the message is answered")
    with pytest.raises(TaskRevokedError):
        result.get(SECONDS)


def test_called_directly_the_body_just_runs(site: Deployment) -> None:
    first, second = site.task("drawn")("direct"), site.task("drawn")("direct")
    assert first[1] != second[1]
    assert app_module.shared("direct") != app_module.shared("direct")


def test_eagerly_and_without_install_the_body_just_runs() -> None:
    app = Celery("bare", set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.task_always_eager = True

    @app.task(name="bare", shared=False)
    @ctxqueue.claimed
    def bare(what: str) -> str:
        return what.upper()

    assert bare.delay("a").get() == "A"
    assert bare("b") == "B"
    assert bare.__wrapped__("c") == "C"
