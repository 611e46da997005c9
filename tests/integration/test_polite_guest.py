"""Somebody's Celery app is as it was after ``install``, but for our tasks and beat entries."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from ctxqueue.integration.task import ContextTask
from tests.integration.apps import guest, guest_settings
from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = {
    "ctxqueue.cleanup_sweep",
    "ctxqueue.consolidate",
    "ctxqueue.context_update",
    "ctxqueue.dependency_callbacks",
    "ctxqueue.drain_inbox",
    "ctxqueue.embed",
    "ctxqueue.launch_canvas",
    "ctxqueue.look_later",
    "ctxqueue.memory_learning",
    "ctxqueue.memory_retention",
    "ctxqueue.recall",
    "ctxqueue.reembed",
    "ctxqueue.remember",
    "ctxqueue.trigger_run_ended",
    "ctxqueue.update_with_result",
}


def in_full(app: Celery) -> dict[str, Any]:
    """Return an app's whole configuration, the schedule apart."""
    app.finalize()
    return {name: app.conf[name] for name in app.conf if name != "beat_schedule"}


def test_the_configuration_is_as_before() -> None:
    before, after = guest.project(), guest.project()
    ctxqueue.install(after)
    assert in_full(after) == in_full(before)
    assert before.conf.task_routes == after.conf.task_routes == guest_settings.CELERY_TASK_ROUTES
    assert after.conf.worker_prefetch_multiplier == 7


def test_the_settings_module_itself_is_as_before() -> None:
    kept = copy.deepcopy({name: value for name, value in vars(guest_settings).items() if name.isupper()})
    app = guest.project()
    ctxqueue.install(app)
    app.finalize()
    assert {name: value for name, value in vars(guest_settings).items() if name.isupper()} == kept


def test_the_schedule_gains_our_entries_and_keeps_the_users() -> None:
    app = guest.project()
    ctxqueue.install(app)
    app.finalize()
    assert app.conf.beat_schedule == {
        **guest_settings.CELERY_BEAT_SCHEDULE,
        "ctxqueue.dependency_callbacks": {
            "task": "ctxqueue.dependency_callbacks",
            "schedule": 99,
            "options": {"expires": 99},
        },
        "ctxqueue.memory_retention": {
            "task": "ctxqueue.memory_retention",
            "schedule": 3_600.0,
            "options": {"expires": 3_600.0},
        },
    }


def test_an_entry_that_the_user_adds_by_a_call_stays_too() -> None:
    app = guest.project()
    ctxqueue.install(app)
    app.add_periodic_task(7.0, app.signature("guest.plain"), name="often")
    app.finalize()
    app.add_periodic_task(8.0, app.signature("guest.plain"), name="later")
    assert {"often", "later", "nightly", "ctxqueue.dependency_callbacks"} <= set(app.conf.beat_schedule)


def test_a_schedule_that_is_set_after_ours_has_our_entries_once_a_worker_or_beat_starts() -> None:
    app = guest.project()
    ctxqueue.install(app)
    app.finalize()
    app.conf.beat_schedule = {"mine": {"task": "guest.plain", "schedule": 5}}
    app.loader.import_default_modules()
    assert {"mine", "ctxqueue.cleanup_sweep", "ctxqueue.dependency_callbacks"} <= set(app.conf.beat_schedule)
    del app.conf.beat_schedule["ctxqueue.memory_retention"]
    app.loader.import_default_modules()
    assert "ctxqueue.memory_retention" not in app.conf.beat_schedule


def test_task_classes_routes_and_annotations_are_as_before() -> None:
    before, after = guest.project(), guest.project()
    ctxqueue.install(after)
    before.finalize()
    after.finalize()
    assert set(after.tasks) - set(before.tasks) == OURS
    for name in ("guest.plain", "guest.other"):
        old, new = type(before.tasks[name]).__mro__, type(after.tasks[name]).__mro__
        assert [each.__name__ for each in old] == [each.__name__ for each in new]
        assert not issubclass(type(after.tasks[name]), ContextTask)
        assert before.amqp.router.route({}, name)["queue"].name == after.amqp.router.route({}, name)["queue"].name
        assert (after.tasks[name].acks_late, after.tasks[name].rate_limit) == (
            before.tasks[name].acks_late,
            before.tasks[name].rate_limit,
        )
    assert issubclass(after.Task, guest.GuestTask)
    assert after.Task.__mro__[1:] == before.Task.__mro__[1:]


def configured_last(app: Celery) -> ctxqueue.ContextQueue:
    queue = guest.move_in(app)
    app.config_from_object(guest_settings, namespace="CELERY")
    app.finalize()
    return queue


def configured_first(app: Celery) -> ctxqueue.ContextQueue:
    app.config_from_object(guest_settings, namespace="CELERY")
    app.finalize()
    return guest.move_in(app)


def configured_after_all_else(app: Celery) -> ctxqueue.ContextQueue:
    app.finalize()
    queue = guest.move_in(app)
    app.config_from_object(guest_settings, namespace="CELERY")
    return queue


@pytest.mark.parametrize("order", [configured_last, configured_first, configured_after_all_else])
def test_the_users_settings_hold_in_whatever_order_things_come(
    order: Callable[[Celery], ctxqueue.ContextQueue],
) -> None:
    app = guest.project(source=None)
    queue = order(app)
    settings = queue.manager.terms.settings
    assert (settings.sweep_interval, settings.lease) == (99, 11)
    assert queue.manager.terms.namespace == "guests"
    assert queue.manager.terms.app == "guest"
    assert set(app.tasks) >= OURS | {"guest.plain", "guest.agent"}
    assert app.conf.beat_schedule["ctxqueue.dependency_callbacks"]["schedule"] == 99
    assert app.conf.beat_schedule["ctxqueue.cleanup_sweep"]["schedule"] == 123.0


def test_settings_without_a_namespace_hold_too() -> None:
    app = Celery("plain", set_as_current=False)
    app.conf.update(ctxqueue_sweep_interval=55, ctxqueue_backend_url="memory://", ctxqueue_max_entries=12)
    queue = ctxqueue.install(app)
    app.finalize()
    assert queue.manager.terms.settings.max_entries == 12
    assert app.conf.beat_schedule["ctxqueue.cleanup_sweep"]["schedule"] == 55


def test_what_install_is_given_goes_before_the_settings() -> None:
    queue = ctxqueue.install(guest.project(), backend_url="memory://", namespace="mine")
    assert queue.manager.terms.namespace == "mine"
    assert "memory" in type(queue.manager.store).__module__ or "inprocess" in type(queue.manager.store).__module__


def test_a_setting_that_makes_no_sense_is_a_typed_error() -> None:
    app = Celery("plain", set_as_current=False)
    app.conf.update(ctxqueue_backend_url="memory://", ctxqueue_lease="soon")
    with pytest.raises(ctxqueue.ConfigurationError, match="ctxqueue_lease is 'soon'"):
        _ = ctxqueue.install(app).manager


def test_installing_twice_returns_the_same_object() -> None:
    app = guest.project()
    queue = ctxqueue.install(app, namespace="one")
    assert ctxqueue.install(app) is queue
    assert ctxqueue.install(app, namespace="one") is queue
    with pytest.raises(ctxqueue.ConfigurationError, match="another"):
        ctxqueue.install(app, namespace="two")
    app.finalize()
    assert ctxqueue.install(app) is queue
    assert list(app.conf.beat_schedule).count("ctxqueue.dependency_callbacks") == 1


def test_one_that_failed_is_not_taken_for_installed() -> None:
    app = guest.project(source={"CELERY_CTXQUEUE_LEASE": "long"})
    app.finalize()
    with pytest.raises(ctxqueue.ConfigurationError, match="ctxqueue_lease"):
        ctxqueue.install(app)
    app.conf.ctxqueue_lease = 5.0
    queue = ctxqueue.install(app)
    assert ctxqueue.install(app) is queue
    assert "ctxqueue.cleanup_sweep" in app.conf.beat_schedule


@pytest.mark.parametrize("app", ["proj", None, Celery])
def test_what_is_no_app_is_a_typed_error(app: Any) -> None:
    with pytest.raises(ctxqueue.ConfigurationError, match="give it the Celery app"):
        ctxqueue.install(app)


def test_mistakes_in_a_declaration_are_typed_errors() -> None:
    queue = ctxqueue.install(guest.project())
    with pytest.raises(ctxqueue.InvalidInput, match="give a list of groups"):
        queue.task(agent_type="analyst", groups="finance")
    with pytest.raises(ctxqueue.InvalidName, match="agent_type"):
        queue.task(agent_type="")
    with pytest.raises(ctxqueue.ConfigurationError, match="another app's"):
        queue.task(agent_type="analyst", base=ctxqueue.install(guest.project("other")).Task)


def test_other_apps_of_the_process_get_nothing() -> None:
    app, other = guest.project(), guest.project("other")
    guest.move_in(app)
    app.finalize()
    other.finalize()
    assert not [name for name in other.tasks if name.startswith("ctxqueue") or name == "guest.agent"]
    assert other.conf.beat_schedule == guest_settings.CELERY_BEAT_SCHEDULE


def test_an_agents_task_keeps_the_users_task_class_and_options() -> None:
    app = guest.project()
    guest.move_in(app)
    app.finalize()
    agent, based = app.tasks["guest.agent"], app.tasks["guest.based"]
    assert isinstance(agent, ContextTask)
    assert isinstance(agent, guest.GuestTask)
    assert agent.house == "guest's"
    assert agent.max_retries == 7
    assert (agent.acks_late, agent.reject_on_worker_lost) == (True, True)
    assert isinstance(based, guest.OtherTask)
    assert not isinstance(based, guest.GuestTask)
    assert (based.acks_late, based.reject_on_worker_lost, based.max_retries) == (False, True, 5)
    assert app.amqp.router.route({}, "guest.agent")["queue"].name == "guests"


def test_the_users_own_base_may_be_ours() -> None:
    app = guest.project()
    queue = ctxqueue.install(app)

    class House(queue.Task):  # type: ignore[misc, name-defined]
        """The user's, over ours."""

        abstract = True

    @queue.task(agent_type="analyst", base=House)
    def mine(self: Any) -> str:
        return str(self.agent.agent_id)

    assert isinstance(mine, House)
    assert isinstance(mine, guest.GuestTask)
    assert mine() == "analyst"


def test_a_direct_call_is_the_users_own() -> None:
    app = guest.project()
    guest.move_in(app)
    guest.CALLS.clear()
    assert app.tasks["guest.agent"]("key") == [None, "key", "guest's"]
    assert app.tasks["guest.based"]() == ["wrapped", None]
    assert guest.CALLS == ["enter guest.agent", "leave guest.agent"]


def test_an_eager_call_goes_through_the_users_class() -> None:
    app = guest.project()
    guest.move_in(app, backend_url="memory://")
    assert app.tasks["guest.based"].apply(task_id="eager").get() == ["wrapped", "eager"]


FORKED = """
import os, signal, threading
from celery import Celery
import ctxqueue

queue = ctxqueue.install(Celery("forked", set_as_current=False), backend_url="memory://")
taken, done = threading.Event(), threading.Event()

def take() -> None:
    with queue._opening:
        taken.set()
        done.wait()

threading.Thread(target=take).start()
taken.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    queue.workflow("w", agent_id="a").open()
    os._exit(0)
print(os.waitpid(child, 0)[1])
done.set()
"""


def test_a_process_forked_while_another_thread_opens_the_store_opens_its_own() -> None:
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, check=True)
    assert told.stdout == "0\n"


def test_importing_and_declaring_reaches_no_server() -> None:
    code = """
import socket
def refuse(*_): raise AssertionError("a connection was made")
socket.socket.connect = refuse
from tests.integration.apps import guest
queue = guest.move_in(guest.project())
queue.app.finalize()
queue.workflow("w", agent_id="a")
with queue.workflow("w"):
    pass
print(*sorted(queue.app.tasks))
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(told.stdout.split()) >= OURS


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (guest_settings.NOBODY, ctxqueue.StoreUnavailable),
        ("http://127.0.0.1/0", ctxqueue.ConfigurationError),
        ("127.0.0.1:6379", ctxqueue.ConfigurationError),
        ("redis://127.0.0.1:port/0", ctxqueue.ConfigurationError),
    ],
)
def test_a_wrong_url_is_a_typed_error_when_it_is_used(url: str, error: type[Exception]) -> None:
    queue = ctxqueue.install(guest.project(), backend_url=url)
    with pytest.raises(error):
        queue.workflow("w").open()


def test_without_any_store_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTXQUEUE_BACKEND_URL", raising=False)
    app = Celery("bare", broker="amqp://nobody", set_as_current=False)
    with pytest.raises(ctxqueue.ConfigurationError, match="ctxqueue_backend_url"):
        ctxqueue.install(app).workflow("w")
